#include "swage/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
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
  const Json values = Json::Array{1.0, 1e-5, 0.1, 1e300, 1e5, 1e15, 1e16, 1e-4, -2.5e-7, 10000.0};
  EXPECT_EQ(
      values.dump(),
      "[1.0,1e-05,0.1,1e+300,100000.0,1000000000000000.0,1e+16,0.0001,-2.5e-07,10000.0]");  // Python's repr() of each
  EXPECT_EQ(parse_json(values.dump(), "test.json"), values);
}

// What is read and written back is what it was, digit by digit, whoever wrote it.
TEST(Json, NumbersKeepTheirSpelling) {
  for (const char* text : {"100000.0", "1e-05", "1E5", "1e5", "1.50", "0.00001", "-0.0", "1e400", "-1e400", "1e-400",
                           "NaN", "Infinity", "-Infinity", "1000000000000000019884624838656", "-9223372036854775809",
                           "9223372036854775807", "18446744073709551615", "0.1e-0007"}) {
    const Json value = parse_json(text, "test.json");
    EXPECT_TRUE(value.is_number()) << text;
    EXPECT_EQ(value.dump(), text);
    EXPECT_EQ(value, parse_json(value.dump(2), "again"))
        << text;  // NaN too: what a run began with is compared with what it is gone on with
  }
}

TEST(Json, NumbersThatAreUsedAreChecked) {
  EXPECT_EQ(parse_json("1000000000000000019884624838656", "t").as_double(), 1e30);
  EXPECT_EQ(parse_json("100000.00", "t").as_double(), 1e5);
  EXPECT_EQ(parse_json("1e-400", "t").as_double(), 0);
  EXPECT_EQ(parse_json("-0", "t").as_int(), 0);
  EXPECT_EQ(parse_json("9223372036854775807", "t").as_int(), std::numeric_limits<int64_t>::max());
  const auto used = [](const char* text, auto read) { return corrupt([&] { read(parse_json(text, "t")); }); };
  const auto as_int = [](const Json& value) { value.as_int(); };
  const auto as_double = [](const Json& value) { value.as_double(); };
  EXPECT_EQ(used("18446744073709551616", as_int),
            "expected an integer, found an integer of 20 characters, which does not fit in 64 bits");
  EXPECT_EQ(used("1E5", as_int), "expected an integer, found a number");
  EXPECT_EQ(used("NaN", as_int), "expected an integer, found NaN");
  EXPECT_EQ(used("NaN", as_double), "expected a finite number, found NaN");
  EXPECT_EQ(used("-Infinity", as_double), "expected a finite number, found -Infinity");
  EXPECT_EQ(used("1e400", as_double), "expected a finite number, found 1e400");
}

// As in Python's dict: the first place, the last value.
TEST(Json, OfADoubledKeyTheLastValueCounts) {
  EXPECT_EQ(parse_json(R"({"b":1,"a":{"x":1,"x":2},"b":[3],"c":4,"b":5})", "t").dump(), R"({"b":5,"a":{"x":2},"c":4})");
  std::string told;
  const JsonLimits limits{.on_doubled_key = [&](std::string_view outermost, std::string_view key) {
    told += cat(outermost, "/", key, " ");
  }};
  parse_json(R"({"b":1,"m":{"x":1,"y":[{"z":1,"z":1}],"x":2},"b":2})", "t", limits);
  EXPECT_EQ(told, "m/z m/x /b ");
}

TEST(Json, HalvesOfSurrogatePairsStayAsTheyAreWhereNobodyUsesThem) {
  const std::string text = R"({"\udc00":"a\ud83d","whole":"\ud83d\ude00","turned":"\ude00\ud83d"})";
  const Json value = parse_json(text, "t");
  EXPECT_EQ(value.dump(), "{\"\\udc00\":\"a\\ud83d\",\"whole\":\"\xf0\x9f\x98\x80\",\"turned\":\"\\ude00\\ud83d\"}");
  EXPECT_EQ(value.at("whole").as_string(), "\xf0\x9f\x98\x80");
  EXPECT_EQ(corrupt([&] { value.at("turned").as_string(); }),
            "expected a string of whole characters, found half a surrogate pair in it");
}

// Members are found out of order and doubled in time that grows with their number alone, near enough.
TEST(Json, ManyMembersTakeTimeInProportion) {
  const auto seconds = [](int members) {
    std::string text = "{";
    for (int i = 0; i < members; ++i)
      text += cat(i > 0 ? "," : "", "\"k", uint64_t(i) * 2654435761u % 1000003, "\":", i);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(parse_json(text + "}", "t").as_object().size(), size_t(members));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  seconds(5'000);
  EXPECT_LT(seconds(80'000),
            100 * seconds(5'000));  // 16 times the members: linear takes some 20 times as long, quadratic 256
}

TEST(Json, ErasesMembers) {
  Json value = parse_json(R"({"a":1,"b":2,"c":3})", "t");
  value.erase("b");
  value.erase("none");
  EXPECT_EQ(value.dump(), R"({"a":1,"c":3})");
}

TEST(Json, BoundsTheNumberOfValues) {
  EXPECT_NO_THROW(parse_json("[1,[2],{}]", "test.json", {.max_values = 5}));
  EXPECT_EQ(corrupt([&] { parse_json("[1,[2],{}]", "test.json", {.max_values = 4}); }),
            "test.json: more than 4 values");
}

TEST(Json, RefusesWhatIsNotOneStrictText) {
  for (const char* bad :
       {"",        "{",           "[1,]",  "{\"a\":1} x", "nul",       "\"\xff\"", "{'a':1}",    "01",   "1.",
        ".5",      "+1",          "1e",    "-",           "-NaN",      "Inf",      "nan",        "True", "\"\t\"",
        "\"\\x\"", "\"\\u12g4\"", "[1 2]", "{1:2}",       "{\"a\" 1}", "\"open",   "{\"a\":1,}", "[",    "\"\\"}) {
    EXPECT_THAT(error_of_parse(bad), testing::StartsWith("test.json: not valid JSON at byte ")) << bad;
  }
  EXPECT_EQ(error_of_parse("{\n \"a\": \x1b[2J}"),
            "test.json: not valid JSON at byte 8 (line 2, column 7): expected a value, found \"\\x1b\"");
  EXPECT_EQ(error_of_parse("[1"),
            "test.json: not valid JSON at byte 2 (line 1, column 3): expected \",\" or \"]\", found the end");
  EXPECT_EQ(error_of_parse("[tru]"),
            "test.json: not valid JSON at byte 1 (line 1, column 2): expected a value, found \"t\"");
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
