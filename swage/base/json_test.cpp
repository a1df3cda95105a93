#include "swage/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "swage/base/error.h"

namespace swage {
namespace {

// What `action` throws, which must be CorruptData.
template <class Action>
std::string corrupt(Action action) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

std::string error_of_parse(std::string_view text) {
  return corrupt([&] { parse_json(text, "test.json"); });
}

TEST(Json, KeepsKeyOrderAndRoundTrips) {
  const std::string text = R"({"b":1,"a":[true,null,-2.5,"x\n\u00e9"],"c":{}})";
  const Json value = parse_json(text, "test.json");
  EXPECT_EQ(value.dump(), "{\"b\":1,\"a\":[true,null,-2.5,\"x\\n\xc3\xa9\"],\"c\":{}}");
  EXPECT_EQ(parse_json(value.dump(2), "again"), value);
}

TEST(Json, DoublesKeepTheirValueAndStayDoubles) {
  const Json value = parse_json("[1.0, 1e-5, 0.1, 1e300]", "test.json");
  EXPECT_EQ(value.dump(), "[1.0,1e-05,0.1,1e+300]");
}

TEST(Json, RefusesWhatIsNotOneStrictText) {
  for (const char* bad : {"", "{", "[1,]", "{\"a\":1} x", "nul", "\"\xff\"", "{'a':1}"}) {
    EXPECT_THAT(error_of_parse(bad), testing::StartsWith("test.json: not valid JSON at byte ")) << bad;
  }
  EXPECT_EQ(error_of_parse("{\"a\":1,\"a\":2}"), "test.json: key \"a\" appears twice");
  EXPECT_EQ(error_of_parse("[18446744073709551615]"), "test.json: an integer does not fit in 64 bits");
  EXPECT_EQ(error_of_parse("[123456789012345678901234567890]"), "test.json: an integer does not fit in 64 bits");
  EXPECT_EQ(error_of_parse(std::string_view("{}\0{}", 5)), "test.json: holds a NUL byte");
}

TEST(Json, BoundsNesting) {
  EXPECT_EQ(error_of_parse(std::string(100000, '[')), "test.json: nested deeper than 100 levels");
  EXPECT_NO_THROW(parse_json(std::string(100, '[') + std::string(100, ']'), "test.json"));
  EXPECT_EQ(error_of_parse(std::string(101, '[') + std::string(101, ']')), "test.json: nested deeper than 100 levels");
}

TEST(Json, AccessNamesWhatWasFound) {
  const Json text("x"), number(1);
  EXPECT_EQ(corrupt([&] { text.as_bool(); }), "expected a boolean, found a string");
  EXPECT_EQ(corrupt([&] { text.as_int(); }), "expected an integer, found a string");
  EXPECT_EQ(corrupt([&] { text.as_double(); }), "expected a number, found a string");
  EXPECT_EQ(corrupt([&] { number.as_string(); }), "expected a string, found an integer");
  EXPECT_EQ(corrupt([&] { number.as_array(); }), "expected an array, found an integer");
  EXPECT_EQ(corrupt([&] { number.as_object(); }), "expected an object, found an integer");
  EXPECT_EQ(corrupt([&] { Json::object().at("key"); }), "\"key\" is missing");
}

TEST(Json, TypedGettersNameTheKey) {
  const Json value = parse_json(R"({"n": "x", "z": null})", "test.json");
  EXPECT_EQ(value.get_int("z", 7), 7);
  EXPECT_EQ(value.get_int("absent", 8), 8);
  try {
    value.get_int("n", 0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "\"n\": expected an integer, found a string");
  }
}

TEST(Json, SortsRecursively) {
  EXPECT_EQ(parse_json(R"({"b":{"y":1,"x":2},"a":0})", "t").sorted().dump(), R"({"a":0,"b":{"x":2,"y":1}})");
}

}  // namespace
}  // namespace swage
