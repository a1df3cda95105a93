// Any bytes as a data set in JSON lines (or, after a first byte of '[', as a JSON array): documents in UTF-8, or a
// refusal.
#include "fuzz/support.h"
#include "swage/base/utf8.h"
#include "swage/data/dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swage;
  static const fuzz::ScratchFolder folder;
  static const data::Tokenizer tokenizer(std::filesystem::path(SWAGE_TEST_DATA) / "data/tiny_bpe");
  const auto file = folder.write(size > 0 && data[0] == '[' ? "fuzz.json" : "fuzz.jsonl", data, size);
  fuzz::refuses_or_reads({ErrorKind::CorruptData, ErrorKind::InvalidArgument, ErrorKind::Unsupported}, [&] {
    const data::Documents documents = data::read_documents(file, tokenizer);
    fuzz::expect(!documents.texts.empty());
    for (const std::string& text : documents.texts) fuzz::expect(valid_utf8_prefix(text) == text.size());
  });
  return 0;
}
