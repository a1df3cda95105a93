#include "swage/base/json.h"

#include <gtest/gtest.h>

#include <string>

#include "swage/base/error.h"

namespace swage {
namespace {

ErrorKind kind_of_parse(const std::string& text) {
  try {
    parse_json(text, "test.json");
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("test.json"), std::string::npos) << e.what();
    return e.kind();
  }
  ADD_FAILURE() << "parsed: " << text;
  return ErrorKind::Internal;
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
  for (const char* bad : {"", "{", "[1,]", "{\"a\":1} x", "{\"a\":1,\"a\":2}", "nul", "[18446744073709551615]",
                          "[123456789012345678901234567890]", "\"\xff\"", "{'a':1}"}) {
    EXPECT_EQ(kind_of_parse(bad), ErrorKind::CorruptData) << bad;
  }
}

TEST(Json, BoundsNesting) {
  EXPECT_EQ(kind_of_parse(std::string(100000, '[')), ErrorKind::CorruptData);
  EXPECT_NO_THROW(parse_json(std::string(100, '[') + std::string(100, ']'), "test.json"));
  EXPECT_EQ(kind_of_parse(std::string(101, '[') + std::string(101, ']')), ErrorKind::CorruptData);
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
