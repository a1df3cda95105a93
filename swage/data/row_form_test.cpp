#include "swage/data/row_form.h"

#include <gmock/gmock.h>

#include "swage/data/data_source.h"
#include "swage/data/data_test_support.h"
#include "swage/data/dataset.h"
#include "swage/data/hub/dataset_files.h"

namespace swage::data {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

fs::path sets() { return fs::path(SWAGE_TEST_DATA) / "datasets"; }

std::vector<std::string> strings(const Json& json) {
  std::vector<std::string> out;
  for (const Json& one : json.as_array()) out.push_back(one.as_string());
  return out;
}

// What LLM Compressor makes of the same rows: tests/data/datasets/make.py.
TEST(RowForm, TextsOfTheRegistryAreLlmCompressors) {
  const Json texts = read_json(sets() / "texts.json");
  const Tokenizer with_template(test_data() / "tiny_bpe");
  const TemporaryFolder folder;
  fs::copy(test_data() / "tiny_bpe", folder.path() / "plain");
  Json config = read_json(folder.path() / "plain" / "tokenizer_config.json"), bare = Json::object();
  for (const auto& [name, value] : config.as_object()) {
    if (name != "chat_template") bare.set(name, value);
  }
  folder.write("plain/tokenizer_config.json", bare.dump());
  const Tokenizer without(folder.path() / "plain");
  for (const char* name : {"open_platypus", "gsm8k", "cnn_dailymail", "evolcodealpaca", "ultrachat_200k",
                           "perfectblend", "wikitext", "c4"}) {
    const DatasetOptions options{.form = parse_data_spec(name).form};
    const fs::path file = sets() / (std::string(name) + ".parquet");
    EXPECT_EQ(read_documents(file, with_template, options).texts, strings(texts.at(name))) << name;
    EXPECT_EQ(read_documents(file, without, options).texts, strings(texts.at(std::string(name) + " without template")))
        << name;
  }
  EXPECT_EQ(read_documents(sets() / "open_platypus.jsonl", with_template, {.form = "open_platypus"}).texts,
            strings(texts.at("open_platypus")));
  EXPECT_EQ(read_documents(sets() / "wikitext.parquet", with_template, {.joins_rows = true}).texts,
            strings(texts.at("wikitext2")));
}

TEST(RowForm, ColumnsDecide) {
  const auto chosen = [](const std::vector<std::string>& columns) { return choose_form(columns, "", "", "d").text(); };
  EXPECT_EQ(chosen({"id", "messages", "text"}), "text");
  EXPECT_EQ(chosen({"prompt", "messages"}), "messages");
  EXPECT_EQ(chosen({"conversations", "prompt", "response"}), "conversations");
  EXPECT_EQ(chosen({"output", "instruction", "input"}), "instruction + output");
  EXPECT_EQ(chosen({"input", "output"}), "input + output");
  EXPECT_EQ(chosen({"completion", "prompt"}), "prompt + completion");
  EXPECT_EQ(choose_form({"a", "b"}, "b", "", "d").text(), "b");
  EXPECT_THAT(error_of([&] { chosen({"body", "title"}); }).what(),
              testing::AllOf(HasSubstr("\"body\", \"title\""), HasSubstr("--text-column")));
  EXPECT_THAT(error_of([&] { choose_form({"body"}, "", "gsm8k", "d"); }).what(),
              HasSubstr("no column \"question\", which gsm8k has"));
}

TEST(RowForm, CorruptRowsAreNamed) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  const auto refused = [&](const std::string& line, const std::string& form = "") {
    const TemporaryFolder folder;
    const Error error = error_of([&] { read_documents(folder.write("d.jsonl", line), tokenizer, {.form = form}); });
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData) << line;
    return std::string(error.what());
  };
  EXPECT_THAT(refused(R"({"prompt":"a","response":7})"), HasSubstr("line 1: \"response\" must be a string"));
  EXPECT_THAT(refused(R"({"prompt":[{"role":"user","content":"x"}],"completion":"y"})"),
              HasSubstr("\" is a list of messages, but \"completion\" is none"));
  EXPECT_THAT(refused(R"({"messages":[{"role":"user","content":"x"}],"tools":7})"),
              HasSubstr("must be a list, or a string that holds one as JSON"));
  EXPECT_THAT(refused(R"({"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":7})"),
              HasSubstr("\"chat_template_kwargs\" must be an object"));
  EXPECT_THAT(refused(R"({"messages":[]})", "ultrachat_200k"), HasSubstr("\"messages\" must be a list of messages"));
  EXPECT_THAT(refused(R"({"conversations":"x"})", "perfectblend"),
              HasSubstr("\"conversations\" must be a list of messages"));
}

TEST(RowForm, DamagedGzipIsCorrupt) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  const TemporaryFolder folder;
  const Error error =
      error_of([&] { read_documents(folder.write("d.jsonl.gz", "\x1f\x8b\x08 not gzip at all"), tokenizer); });
  EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error.what(), HasSubstr("d.jsonl.gz: not a readable gzip file: "));
}

TEST(DataSpec, NamesHaveConfigurationsSplitsAndSlices) {
  const DataSpec whole = parse_data_spec("org/set@v2:en:train[10%:-5]");
  EXPECT_EQ(whole.id + "|" + whole.revision + "|" + whole.config + "|" + whole.split, "org/set|v2|en|train");
  EXPECT_TRUE(whole.from->percent);
  EXPECT_EQ(whole.to->value, -5);
  EXPECT_EQ(parse_data_spec("HuggingFaceH4/ultrachat_200k:train_sft[:512]").form, "ultrachat_200k");
  EXPECT_EQ(parse_data_spec("Ultrachat-200K").split, "train_sft");
  EXPECT_EQ(parse_data_spec("ultrachat:test").split, "test_sft");
  EXPECT_EQ(parse_data_spec("ultrachat:train[:5]").split,
            "train");  // as there: a slice belongs to the split that is named
  EXPECT_EQ(parse_data_spec("wikitext:wikitext-103-raw-v1:test").config, "wikitext-103-raw-v1");
  EXPECT_TRUE(parse_data_spec("./x.jsonl").kind == DataSpec::Kind::File &&
              parse_data_spec("x.parquet").kind == DataSpec::Kind::File);
  for (const char* bad : {"nosuch", "org/set:a:b:c", "org/set[5]", "org/set[:x]", "org/set[:200%]",
                          "org/set:", "builtin:x", "a/b/c", ""}) {
    EXPECT_EQ(error_of([&] { parse_data_spec(bad); }).kind(), ErrorKind::InvalidArgument) << bad;
  }
  for (const char* refused : {"ptb", "PTB-new", "flickr30k", "peoples-speech"})
    EXPECT_EQ(error_of([&] { parse_data_spec(refused); }).kind(), ErrorKind::Unsupported) << refused;
}

TEST(Splits, NamesOfFilesSayWhereTheyBelong) {
  const auto places = [](const std::vector<std::string>& names, const std::string& card = "") {
    std::vector<RemoteFile> files;
    for (const std::string& name : names) files.push_back({name});
    std::string default_config, out;
    for (const SplitFiles& one : splits_of(files, card, default_config))
      out += cat(one.config, ":", one.split, "=", one.files.size(), " ");
    return out + default_config;
  };
  EXPECT_EQ(places({"data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
                    "data/test_sft-00000-of-00001-a3ecf92756993583.parquet", "README.md"}),
            "default:test_sft=1 default:train=2 ");
  EXPECT_EQ(places({"main/train-00000-of-00001.parquet", "socratic/test-00000-of-00001.parquet", "dataset_infos.json"}),
            "main:train=1 socratic:test=1 ");
  EXPECT_EQ(
      places({"default/partial-train/0000.parquet", "default/partial-train/0001.parquet", "en/test/0000.parquet"}),
      "default:train=2 en:test=1 ");
  EXPECT_EQ(places({"train.jsonl", "dev.json", "eval/rows.jsonl.gz", "notes.txt"}),
            "default:test=1 default:train=1 default:validation=1 ");
  EXPECT_EQ(places({"part_a.jsonl", "part_b.jsonl"}), "default:train=2 ");
  EXPECT_EQ(places({"train.csv"}), "");
  const std::string card =
      "---\nconfigs:\n- config_name: b\n  data_files: \"*.jsonl\"\n- config_name: a\n  default: true\n  data_files:\n  "
      "- split: s\n    path: sub/**\n---\n";
  EXPECT_EQ(places({"x.jsonl", "sub/deep/y.json"}, card), "a:s=1 b:train=1 a");
  EXPECT_EQ(places({"train.jsonl"}, "---\n{broken\n---\n"), "default:train=1 ");
}

TEST(Splits, GlobsMatchAsTheHubsOwnDo) {
  const std::pair<const char*, const char*> yes[] = {{"data/train-*", "data/train-00000"},
                                                     {"*.jsonl", "a.jsonl"},
                                                     {"**/*.json", "a/b/c.json"},
                                                     {"**/*.json", "c.json"},
                                                     {"**", "a/b"},
                                                     {"a?c/[xy]*", "abc/y.json"},
                                                     {"a[", "a["},
                                                     {"en/*.json.gz", "en/c4.json.gz"}};
  for (const auto& [pattern, path] : yes) EXPECT_TRUE(matches_glob(pattern, path)) << pattern << " " << path;
  const std::pair<const char*, const char*> no[] = {
      {"*.jsonl", "a/b.jsonl"}, {"data/*", "data/a/b"}, {"a?c", "a/c"}, {"train", "train.json"}, {"[ab]", "c"}};
  for (const auto& [pattern, path] : no) EXPECT_FALSE(matches_glob(pattern, path)) << pattern << " " << path;
  EXPECT_FALSE(matches_glob(std::string(40, '*') + "x", std::string(900, 'a')));  // in linear time
}

}  // namespace
}  // namespace swage::data
