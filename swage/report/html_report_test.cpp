#include "swage/report/html_report.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace swage::pipeline {
namespace {

constexpr const char* kReport =
    R"({"swage": "1", "source": "a<b>&c", "modifier": "GPTQModifier", "threads": 2, "seconds": 3725.0, "peak_rss_bytes": 2147483648,
  "date": "2026-05-01 12:30 UTC", "command_line": "swage compress 'a<b' -o OUT",
  "plan": {"source_bytes": 269030016, "output_bytes": 113098656, "bits_per_weight": 4.25},
  "calibration": {"rows": 64, "tokens_per_row": 512, "documents_used": 9, "file": "calib.jsonl"},
  "check": {"source_perplexity": 15.3, "output_perplexity": 17.2, "windows": 8, "tokens": 508, "held_out": true}, "stage_seconds": {"forward": 10.0, "solve": 5.0},
  "size_parts": [{"part": "embeddings", "bytes": 56623104}, {"part": "mlp", "bytes": 56475552}],
  "answers": {"prompt": "Who?", "source": "<me>", "output": "you", "tokens": 16},
  "warnings": ["model.layers.0.mlp.up_proj: <odd>"],
  "modules": [{"name": "model.layers.0.mlp.experts.0.w1", "scheme": "W4A16 g64", "relative_error": 0.05, "loss": 1.5, "tokens": 9},
              {"name": "model.layers.0.mlp.experts.1.w1", "scheme": "W4A16 g64", "relative_error": 0.1, "loss": 1.5},
              {"name": "model.layers.3.self_attn.q_proj", "scheme": "W8A16", "relative_error": 0.01},
              {"name": "lm_head", "scheme": "W8A16", "relative_error": null}]})";

int count(const std::string& text, const std::string& part) {
  int out = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++out;
  return out;
}

TEST(HtmlReport, ShowsTheFiguresAndEscapesText) {
  const std::string page = html_report(parse_json(kReport, "test"), "a: <b>\n");
  for (const char* part : {"a&lt;b&gt;&amp;c",
                           "107.9 MiB",
                           "of 256.6 MiB",
                           "4.25",
                           "17.200",
                           "before: 15.300",
                           "change +12.4 %",
                           "508 held-out tokens",
                           "1 h 02 min",
                           "2.0 GiB",
                           "&lt;odd&gt;",
                           "a: &lt;b&gt;",
                           "mlp.experts.*.w1",
                           "model.layers.0.mlp.experts.1.w1: 10.00 %, W4A16 g64",
                           "2026-05-01 12:30 UTC",
                           "64 rows of 512 tokens (32768) from 9 documents",
                           "of calib.jsonl",
                           "54.0 MiB, 50 %",
                           "&lt;me&gt;",
                           "not measured",
                           "swage compress 'a&lt;b' -o OUT"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(count(page, "<rect class=\"cell\""), 3);  // a square for both experts of the layer
  EXPECT_EQ(page.find(".0 modules"), std::string::npos);
}

// Attention runs before the MLP, and the head last, whatever their letters; the worst of all comes first in its list.
TEST(HtmlReport, RowsAreInTheOrderOfExecution) {
  const std::string page = html_report(parse_json(kReport, "test"), "");
  const size_t attention = page.find(">self_attn.q_proj</text>"), mlp = page.find(">mlp.experts.*.w1</text>"),
               head = page.find(">lm_head</text>");
  ASSERT_NE(head, std::string::npos);
  EXPECT_LT(attention, mlp);
  EXPECT_LT(mlp, head);
  EXPECT_NE(page.find("<ol><li>model.layers.0.mlp.experts.1.w1: 10.00 %"), std::string::npos);
}

TEST(HtmlReport, ChangesOfPerplexityHaveASign) {
  Json report = parse_json(kReport, "test");
  Json check = report.at("check");
  check.set("output_perplexity", 62165.365);
  report.set("check", check);
  const std::string page = html_report(report, "");
  EXPECT_NE(page.find("<b>62165</b>"), std::string::npos);
}

TEST(HtmlReport, IsOneWellFormedPageThatAsksForNothingElse) {
  const std::string page = html_report(parse_json(kReport, "test"), "");
  for (const char* part : {"http", " src=", "<link", "@import", "url(", "fetch("})
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  std::vector<std::string> open;  // every tag is closed, in order
  for (size_t at = page.find("<html"); at != std::string::npos; at = page.find('<', at + 1)) {
    const size_t end = page.find('>', at);
    ASSERT_NE(end, std::string::npos);
    if (page[end - 1] == '/') continue;
    const std::string name = page.substr(at + 1, page.find_first_of(" >", at) - at - 1);
    if (name == "meta") continue;
    if (name[0] != '/') {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty());
    EXPECT_EQ("/" + open.back(), name);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

// Everyone is told what a picture shows, and which cells of a table are its heads.
TEST(HtmlReport, PicturesAndTablesAreNamed) {
  const std::string page = html_report(parse_json(kReport, "test"), "");
  EXPECT_EQ(count(page, "role=\"img\""), count(page, "role=\"img\" aria-label=\""));
  EXPECT_EQ(count(page, "<th"), count(page, "<th scope=") + count(page, "<thead"));
  EXPECT_EQ(count(page, "<svg"), count(page, "role=\"img\"") + count(page, "aria-hidden=\"true\""));
}

TEST(HtmlReport, LeavesOutWhatIsNotThere) {
  EXPECT_NE(html_report(Json::object(), "").find("</html>"), std::string::npos);
}

}  // namespace
}  // namespace swage::pipeline
