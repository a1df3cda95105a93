#include "swage/data/drawn_windows.h"

#include <gmock/gmock.h>

#include "swage/data/data_source.h"
#include "swage/data/data_test_support.h"

namespace swage::data {
namespace {

using testing::HasSubstr;

Documents documents_of(const Json& texts, const Tokenizer& tokenizer, const DatasetOptions& options) {
  const TemporaryFolder folder;
  std::string lines;
  for (const Json& text : texts.as_array()) {
    Json row = Json::object();
    row.set("text", text);
    lines += row.dump() + "\n";
  }
  return read_documents(folder.write("rows.jsonl", lines), tokenizer, options);
}

// Numbers of CPython 3.11: random.seed(s); random.getrandbits(32), random.randint(0, n).
TEST(PythonRandom, DrawsAsPythonDoes) {
  PythonRandom zero(0);
  EXPECT_EQ(zero.up_to(99), 49u);
  EXPECT_EQ(zero.up_to(99), 97u);
  EXPECT_EQ(zero.up_to(0), 0u);  // draws, too
  EXPECT_EQ(zero.up_to(4294967294), 173879092u);
}

// What optimum draws of the same rows: tests/data/datasets/make_drawn.py.
TEST(DrawnWindows, RowsAreOptimums) {
  const Json golden = read_json(std::filesystem::path(SWAGE_TEST_DATA) / "datasets" / "drawn.json");
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  for (const char* name : {"wikitext2", "c4-new"}) {
    const DataSpec spec = parse_data_spec(name);
    Documents documents = documents_of(golden.at("texts"), tokenizer, {.joins_rows = spec.joins_rows});
    documents.draw = spec.draw;
    for (const Json& one : golden.at(name).as_array()) {
      const Json& rows = one.at("rows");
      const CalibrationSet set = make_calibration_set(documents, tokenizer,
                                                      {.num_samples = int64_t(rows.as_array().size()),
                                                       .max_seq_length = one.at("length").as_int(),
                                                       .seed = uint64_t(one.at("seed").as_int())});
      std::vector<int64_t> expected;
      for (const Json& row : rows.as_array()) {
        for (const Json& id : row.as_array()) expected.push_back(id.as_int());
      }
      const int64_t* ids = set.ids_NL.const_data_ptr<int64_t>();
      EXPECT_EQ(std::vector<int64_t>(ids, ids + set.ids_NL.numel()), expected) << name << one.at("seed").as_int();
      EXPECT_GE(set.documents_used, 1);
    }
  }
}

TEST(DrawnWindows, OtherOrdersThatAreAskedForCount) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  Documents documents = read_documents(test_data() / "calib_small.jsonl", tokenizer);
  const BatchOptions unpacked{.num_samples = 3, .max_seq_length = 16, .pack = false};
  const at::Tensor in_order = make_calibration_set(documents, tokenizer, unpacked).ids_NL;
  documents.draw = Draw::DocumentsAndPlaces;
  EXPECT_TRUE(make_calibration_set(documents, tokenizer, unpacked).ids_NL.equal(in_order));
  EXPECT_FALSE(
      make_calibration_set(documents, tokenizer, {.num_samples = 3, .max_seq_length = 16}).ids_NL.equal(in_order));
}

TEST(DrawnWindows, TooLittleTextIsNamed) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  Documents documents;
  documents.texts = {"a boat", "two boats"};
  for (const Draw draw : {Draw::Places, Draw::DocumentsAndPlaces}) {
    documents.draw = draw;
    EXPECT_THAT(
        error_of([&] { make_calibration_set(documents, tokenizer, {.num_samples = 2, .max_seq_length = 64}); }).what(),
        testing::AllOf(HasSubstr("64"), HasSubstr("use a smaller --max-seq-length")));
  }
}

}  // namespace
}  // namespace swage::data
