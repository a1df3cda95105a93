#include "swage/data/dataset.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <iostream>

#include "swage/data/data_test_support.h"

namespace swage::data {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class Dataset : public testing::Test {
 protected:
  Error read_error(const std::string& name, std::string_view text, const DatasetOptions& options = {}) const {
    const fs::path file = folder_.write(name, text);
    return error_of([&] { read_documents(file, tokenizer_, options); });
  }
  Documents read(const std::string& name, std::string_view text, const DatasetOptions& options = {}) const {
    return read_documents(folder_.write(name, text), tokenizer_, options);
  }

  TemporaryFolder folder_;
  Tokenizer tokenizer_{test_data() / "tiny_bpe"};
  Documents small_ = read_documents(test_data() / "calib_small.jsonl", tokenizer_);
};

TEST_F(Dataset, ParquetEqualsJsonLines) {
  const Documents parquet = read_documents(test_data() / "calib_small.parquet", tokenizer_);
  EXPECT_EQ(parquet.texts.size(), 20u);
  EXPECT_EQ(parquet.texts, small_.texts);
  EXPECT_EQ(read_documents(test_data() / "calib_small.parquet", tokenizer_, {.text_column = "source"}).texts,
            read_documents(test_data() / "calib_small.jsonl", tokenizer_, {.text_column = "source"}).texts);
}

TEST_F(Dataset, ParquetEqualsJsonLinesOnTheFullData) {
  if (!full_data())
    GTEST_SKIP() << "calib.jsonl and calib.parquet, too large for the clone, do not lie in ../shared/data";
  std::cout << "full set: calib.parquet against calib.jsonl" << std::endl;
  const Documents lines = read_documents(*full_data() / "calib.jsonl", tokenizer_);
  EXPECT_EQ(lines.texts.size(), 472u);
  EXPECT_EQ(read_documents(*full_data() / "calib.parquet", tokenizer_).texts, lines.texts);
}

TEST_F(Dataset, MessagesGoThroughTheChatTemplate) {
  const Documents lines = read_documents(test_data() / "chats.jsonl", tokenizer_);
  EXPECT_TRUE(lines.formatted);
  ASSERT_EQ(lines.texts.size(), 4u);
  EXPECT_EQ(lines.texts[0], "<s><|user|>Hello!</s>");
  const Documents parquet = read_documents(test_data() / "chats.parquet", tokenizer_);
  EXPECT_TRUE(parquet.formatted);
  EXPECT_EQ(parquet.texts, lines.texts);
}

TEST_F(Dataset, OtherFormsOfTheSameText) {
  const std::vector<std::string> two = {"a\nb", "c"};
  EXPECT_EQ(read("d.jsonl", "{\"text\":\"a\\nb\"}\r\n\n{\"text\":\"c\",\"x\":[1]}").texts, two);
  EXPECT_EQ(read("d.JSON", "\n [ {\"text\":\"a\\nb\"}, {\"text\":\"c\"} ]").texts, two);
  EXPECT_EQ(read("d.json", "\xEF\xBB\xBF{\"text\":\"a\\nb\"}\n{\"text\":\"c\"}\n").texts, two);
  EXPECT_EQ(read("d.jsonl", "{\"text\":1,\"body\":\"a\\nb\"}\n{\"body\":\"c\"}", {.text_column = "body"}).texts, two);
  EXPECT_EQ(read("d.txt", "\xEF\xBB\xBFone\n\ntwo\n").texts, std::vector<std::string>{"one\n\ntwo\n"});
}

TEST_F(Dataset, AbsentColumnsListThoseFound) {
  for (const char* name : {"d.jsonl", "d.json"}) {
    const Error error = read_error(name, R"({"body":"x","id":1})");
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("\"body\", \"id\""));
  }
  EXPECT_THAT(read_error("d.jsonl", R"({"text":"x"})", {.text_column = "txet"}).what(),
              HasSubstr("no column \"txet\""));
  const Error parquet =
      error_of([&] { read_documents(test_data() / "calib_small.parquet", tokenizer_, {.text_column = "txet"}); });
  EXPECT_EQ(parquet.kind(), ErrorKind::InvalidArgument);
  EXPECT_THAT(parquet.what(), HasSubstr("\"text\", \"source\""));
}

TEST_F(Dataset, EmptySetsAreRefused) {
  EXPECT_EQ(read_error("d.jsonl", "").kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(read_error("d.jsonl", "\n \n").kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(read_error("d.json", "[]").kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(read_error("d.txt", "").kind(), ErrorKind::InvalidArgument);
  EXPECT_THAT(read_error("d.jsonl", R"({"text":""})").what(), HasSubstr("no document has any text"));
}

TEST_F(Dataset, FilesOfOtherKindsAreRefused) {
  EXPECT_EQ(read_error("d.csv", "text\nx").kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(read_error("d.txt", "x", {.text_column = "text"}).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([&] { read_documents(folder_.path() / "absent.jsonl", tokenizer_); }).kind(), ErrorKind::Io);
}

TEST_F(Dataset, CorruptLinesAreNamed) {
  const std::string good = "{\"text\":\"fine\"}\n";
  const std::pair<const char*, const char*> cases[] = {
      {"{\"text\":", "not valid JSON"},
      {"[1]", ": expected a JSON object"},
      {"7", ": expected a JSON object"},
      {"{\"text\":\"\xFF\"}", "not valid JSON"},
      {"{\"text\":\"\\ud800\"}", "half a surrogate pair"},
      {"{\"other\":\"x\"}", "\"; found: \"other\""},
      {"{\"text\":null}", "\"text\" must be a string, or an array of messages, found null; leave such rows out"},
      {"{\"text\":5}", "must be a string, or an array of messages"},
      {"{\"text\":[{\"role\":\"user\",\"content\":\"x\"}]}", ", but not so in the rows before"},
  };
  for (const auto& [bad, message] : cases) {
    const Error error = read_error("d.jsonl", good + bad);
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData) << bad;
    EXPECT_THAT(error.what(), HasSubstr("d.jsonl: line 2")) << bad;
    EXPECT_THAT(error.what(), HasSubstr(message)) << bad;
  }
  EXPECT_THAT(read_error("d.jsonl", R"({"prompt":"a","completion":null})").what(),
              HasSubstr("line 1: \"completion\" must be a string, found null; leave such rows out"));
  EXPECT_THAT(read_error("d.json", "[{\"text\":\"a\"}, 3]").what(), HasSubstr("element 2"));
  EXPECT_EQ(read_error("d.json", "[{\"text\":\"a\"}").kind(), ErrorKind::CorruptData);
}

// What Python's json writes into columns that are not read does not matter.
TEST_F(Dataset, OtherColumnsMayHoldWhatPythonWrites) {
  const std::string rows = R"({"id":18446744073709551615,"score":NaN,"text":"first","raw":"\ud83d","id":-Infinity})"
                           "\n"
                           R"({"text":"no","id":1e999,"text":"second","z":[123456789012345678901234567890]})";
  const fs::path file = folder_.write("d.jsonl", rows);
  EXPECT_EQ(read_documents(file, tokenizer_).texts, (std::vector<std::string>{"first", "second"}));
}

TEST_F(Dataset, CorruptMessagesAreNamed) {
  for (const char* bad :
       {R"({"messages":[1]})", R"({"messages":[{"role":"user"}]})", R"({"messages":[{"content":"x"}]})"}) {
    const Error error = read_error("d.jsonl", bad);
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData) << bad;
    EXPECT_THAT(error.what(), HasSubstr("line 1: each of \"messages\"")) << bad;
    EXPECT_THAT(error.what(), HasSubstr("must be an object with \"role\" and \"content\"")) << bad;
  }
}

TEST_F(Dataset, TextThatIsNotUtf8IsNamed) {
  const Error error = read_error("d.txt", "one\ntwo\n\xC3(");
  EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error.what(), HasSubstr("line 3 is not UTF-8"));
}

// Any damage gives an error or other text, never a crash: cuts, flipped bits and overwritten stretches all over the
// file.
TEST_F(Dataset, DamagedParquetIsCorrupt) {
  const std::string good = read_text(test_data() / "calib_small.parquet");
  for (const size_t length :
       {size_t{0}, size_t{3}, size_t{4}, size_t{12}, good.size() / 2, good.size() - 1, good.size() - 8}) {
    const Error error = read_error("d.parquet", good.substr(0, length));
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData) << length;
    EXPECT_THAT(error.what(), HasSubstr("d.parquet: not a readable Parquet file: "));
  }
  EXPECT_EQ(read_error("d.parquet", "PAR1" + std::string(4000, '\xFF') + "PAR1").kind(), ErrorKind::CorruptData);
  size_t refused = 0, trials = 0;
  for (const std::string& original : {good, read_text(test_data() / "chats.parquet")}) {
    const size_t footer = std::min<size_t>(original.size(), 1500), stride = 7;
    for (size_t k = 0; k < footer; k += stride, ++trials) {
      std::string bad = original;
      bad[bad.size() - 1 - k] = char(bad[bad.size() - 1 - k] ^ (1 << (k % 8)));
      const size_t at = k * 7919 % bad.size();
      for (size_t i = at; i < std::min(at + 3, bad.size()); ++i) bad[i] = char(0xA5 + k);
      try {
        read("d.parquet", bad);
      } catch (const Error& error) {
        ++refused;
        EXPECT_THAT(error.what(), HasSubstr("d.parquet"));
      }
    }
  }
  EXPECT_GT(refused, trials / 2);
}

TEST_F(Dataset, ParquetValuesOfTheWrongKindAreNamed) {
  const auto error = [&](const char* name, const char* column) {
    return error_of([&] { read_documents(test_data() / name, tokenizer_, {.text_column = column}); });
  };
  EXPECT_EQ(error("bad_utf8.parquet", "text").kind(), ErrorKind::CorruptData);
  EXPECT_EQ(error("bad_types.parquet", "text").kind(), ErrorKind::Unsupported);
  EXPECT_THAT(error("bad_types.parquet", "text").what(), HasSubstr("timestamp"));
  EXPECT_EQ(error("bad_types.parquet", "n").kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error("bad_types.parquet", "nothing").what(), HasSubstr("row 1"));
  EXPECT_EQ(error("empty.parquet", "text").kind(), ErrorKind::InvalidArgument);
}

TEST_F(Dataset, DeeplyNestedParquetIsCorrupt) {
  const Error error = error_of([&] { read_documents(test_data() / "bad_depth.parquet", tokenizer_); });
  EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error.what(), HasSubstr("nested too deeply"));
}

TEST_F(Dataset, ParquetStringsComeInSeveralEncodings) {
  const std::vector<std::string> expected = {"a", "b", "a"};
  EXPECT_EQ(read_documents(test_data() / "dictionary.parquet", tokenizer_).texts, expected);
  EXPECT_EQ(read_documents(test_data() / "dictionary.parquet", tokenizer_, {.text_column = "large"}).texts, expected);
}

TEST_F(Dataset, OneDocumentARowTakesTheFirstLongEnough) {
  const Json oracle = read_json(test_data() / "tiny_bpe_oracle.json");
  const CalibrationSet set =
      make_calibration_set(small_, tokenizer_, {.num_samples = 9, .max_seq_length = 512, .pack = false});
  EXPECT_EQ(set.ids_NL.size(0), oracle.at("rows").at("rows").as_int());
  EXPECT_EQ(set.documents_used, set.ids_NL.size(0));
  EXPECT_EQ(set.documents_skipped, oracle.at("rows").at("skipped").as_int());
  EXPECT_EQ(sha_of_ids(set.ids_NL.const_data_ptr<int64_t>(), size_t(set.ids_NL.numel())),
            oracle.at("rows").at("sha").as_string());
}

TEST_F(Dataset, ShortDocumentsAreSkippedAndCounted) {
  const Documents documents{{"a", "12345678", "b", "1234567890"}, false};
  const CalibrationSet set = make_calibration_set(documents, tokenizer_, {.max_seq_length = 8, .pack = false});
  EXPECT_EQ(set.documents_used, 2);
  EXPECT_EQ(set.documents_skipped, 2);
  EXPECT_EQ(set.ids_NL.size(0), 2);
  const Error error =
      error_of([&] { make_calibration_set(documents, tokenizer_, {.max_seq_length = 100, .pack = false}); });
  EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("longest has 11"));
}

TEST_F(Dataset, PackedRowsBeginWithTheBosAndHoldTheTextInOrder) {
  const Documents documents{{"0123456789", "abc", "0"}, false};
  const CalibrationSet set = make_calibration_set(documents, tokenizer_, {.max_seq_length = 4});
  std::vector<int64_t> text;
  for (int64_t r = 0; r < set.ids_NL.size(0); ++r) {
    EXPECT_EQ(set.ids_NL[r][0].item<int64_t>(), 0);
    for (int64_t c = 0; c < 4; ++c) {
      if (const int64_t id = set.ids_NL[r][c].item<int64_t>(); id != 0) text.push_back(id);
    }
  }
  std::vector<int64_t> all;
  for (const std::string& document : documents.texts) {
    const auto ids = tokenizer_.encode(document, false);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  ASSERT_LE(text.size(), all.size());
  EXPECT_GT(text.size() + 4, all.size());  // less than a row is lost at the end
  EXPECT_TRUE(std::equal(text.begin(), text.end(), all.begin()));
}

// The chat template has written the special tokens already.
TEST_F(Dataset, FormattedTextGetsNoSpecialTokensAdded) {
  const Documents documents{{"<s>abcdefgh", "<s>ijklmnop"}, true};
  const CalibrationSet set = make_calibration_set(documents, tokenizer_, {.max_seq_length = 3, .pack = false});
  EXPECT_EQ(set.ids_NL[0][0].item<int64_t>(), 0);
  EXPECT_NE(set.ids_NL[0][1].item<int64_t>(), 0);
  const CalibrationSet packed = make_calibration_set(documents, tokenizer_, {.max_seq_length = 4});
  EXPECT_EQ((packed.ids_NL == 0).sum().item<int64_t>(), 2);
}

TEST_F(Dataset, ShufflingIsByItsSeedAlone) {
  Documents documents;
  for (int i = 0; i < 40; ++i) documents.texts.push_back(cat(i % 10, i / 10, " same length"));
  const auto rows = [&](bool shuffle, uint64_t seed) {
    return make_calibration_set(
               documents, tokenizer_,
               {.num_samples = 40, .max_seq_length = 5, .pack = false, .shuffle = shuffle, .seed = seed})
        .ids_NL;
  };
  EXPECT_TRUE(rows(true, 1).equal(rows(true, 1)));
  EXPECT_FALSE(rows(true, 1).equal(rows(true, 2)));
  EXPECT_FALSE(rows(true, 1).equal(rows(false, 1)));
  const auto digits = [](const at::Tensor& ids_NL) {
    return std::get<0>((ids_NL.select(1, 1) * 1000 + ids_NL.select(1, 2)).sort());
  };
  EXPECT_TRUE(digits(rows(true, 1)).equal(digits(rows(false, 1))));  // the same documents
  // From an independent Python version of splitmix64, Lemire's bound and Fisher-Yates: a changed algorithm would
  // silently change every seeded run.
  EXPECT_EQ(sha_of_ids(rows(true, 42).const_data_ptr<int64_t>(), 200), "ad1da3019ab25330");
}

TEST_F(Dataset, TooLittleTextAndBadSizesAreRefused) {
  const Documents documents{{"abc"}, false};
  EXPECT_THAT(error_of([&] { make_calibration_set(documents, tokenizer_, {.max_seq_length = 100}); }).what(),
              HasSubstr("fewer than the 100"));
  EXPECT_THAT(error_of([&] { make_windows(documents, tokenizer_, {.window = 100}); }).what(),
              HasSubstr("fewer than the 99"));
  EXPECT_EQ(error_of([&] { make_windows(documents, tokenizer_, {.window = 1}); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([&] { make_calibration_set(documents, tokenizer_, {.num_samples = 0}); }).kind(),
            ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([&] { make_calibration_set(documents, tokenizer_, {.max_seq_length = -1}); }).kind(),
            ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([&] { make_calibration_set(documents, tokenizer_, {.max_seq_length = 1}); }).kind(),
            ErrorKind::InvalidArgument);
}

void expect_rows(const at::Tensor& ids_NL, const Json& oracle, const char* count) {
  EXPECT_EQ(ids_NL.size(0), oracle.at(count).as_int());
  EXPECT_EQ(sha_of_ids(ids_NL.const_data_ptr<int64_t>(), size_t(ids_NL.numel())), oracle.at("sha").as_string());
}

TEST_F(Dataset, WindowsEqualThePythonProtocol) {
  const Json oracle = read_json(test_data() / "tiny_bpe_oracle.json");
  expect_rows(make_windows(small_, tokenizer_, {.window = 128}), oracle.at("windows"), "count");
  expect_rows(make_windows(small_, tokenizer_, {.window = 128, .max_windows = 5}), oracle.at("windows5"), "count");
}

TEST_F(Dataset, SmolLm2RowsAndWindowsEqualThePythonProtocol) {
  if (!full_data() || !test_model())
    GTEST_SKIP()
        << "needs ../shared/data, too large for the clone, and in SWAGE_TEST_MODEL the folder of SmolLM2-135M-Instruct";
  std::cout << "full set: SmolLM2 calibration rows and held-out windows" << std::endl;
  const Tokenizer tokenizer(*test_model());
  const Json oracle = read_json(test_data() / "smollm2_oracle.json");
  const Documents heldout = read_documents(*full_data() / "heldout.jsonl", tokenizer);
  const at::Tensor windows = make_windows(heldout, tokenizer, {.window = 512, .max_windows = 40});
  expect_rows(windows, oracle.at("windows40"), "count");
  EXPECT_EQ(sha_of_ids(windows.const_data_ptr<int64_t>(), size_t(windows.numel())),
            "69e79e3a9f915d34");  // the peers' ids_sha
  expect_rows(make_windows(heldout, tokenizer, {.window = 512}), oracle.at("windows_all"), "count");
  const Documents calib = read_documents(*full_data() / "calib.jsonl", tokenizer);
  expect_rows(make_calibration_set(calib, tokenizer, {.num_samples = 64, .max_seq_length = 512, .pack = false}).ids_NL,
              oracle.at("rows64"), "rows");
  expect_rows(make_calibration_set(calib, tokenizer, {.num_samples = 64, .max_seq_length = 512}).ids_NL,
              oracle.at("packed64"), "rows");
}

// A few thousand bytes that stand for gigabytes: 1000 times a text of 6 MB, a list of 1.1 million nulls.
TEST_F(Dataset, ParquetThatUnfoldsIsBounded) {
  const Error rows = error_of([&] { read_documents(test_data() / "repeated.parquet", tokenizer_); });
  EXPECT_EQ(rows.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(rows.what(), HasSubstr("repeated.parquet: a row group takes more than 1024 MiB to read"));
  const Error list = error_of([&] { read_documents(test_data() / "long_list.parquet", tokenizer_); });
  EXPECT_EQ(list.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(list.what(), HasSubstr("\"messages\" holds a list of 1100000 items"));
}

// Of a very long text only the beginning is tokenized; its tokens are those of the whole text.
TEST(Batches, LongTextsGiveTheSameTokens) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  std::string text;
  for (int i = 0; text.size() < 600'000; ++i) text += cat("line ", i, " of a long \u00e9t\u00e9 text\n");
  const std::vector<int64_t> whole = tokenizer.encode(text, true);
  for (const bool pack : {false, true}) {
    const CalibrationSet set =
        make_calibration_set({{text}, false}, tokenizer, {.num_samples = 1, .max_seq_length = 256, .pack = pack});
    EXPECT_TRUE(std::equal(whole.begin(), whole.begin() + 256, set.ids_NL.const_data_ptr<int64_t>()));
  }
  const at::Tensor windows = make_windows({{text}, false}, tokenizer, {.window = 128, .max_windows = 2});
  EXPECT_TRUE(
      std::equal(whole.begin(), whole.begin() + 128, windows.const_data_ptr<int64_t>()));  // both begin with the BOS
}

}  // namespace
}  // namespace swage::data
