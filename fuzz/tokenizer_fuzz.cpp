// Any bytes as a tokenizer.json: refused, or a tokenizer that encodes and decodes any text, or says why it cannot.
#include <cstdlib>
#include <vector>

#include "fuzz/support.h"
#include "swage/data/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swage;
  static const bool one_thread = setenv("RAYON_NUM_THREADS", "1", 1) == 0;
  fuzz::expect(one_thread);
  static const fuzz::ScratchFolder folder;
  folder.write("tokenizer.json", data, size);
  fuzz::refuses_or_reads({ErrorKind::CorruptData}, [&] {
    const data::Tokenizer tokenizer(folder.path());
    fuzz::expect(tokenizer.vocabulary_size() >= 0);
    const std::vector<std::string> texts = {"", "The cat's\n\n 12,345 <s> \xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 ",
                                            std::string(300, 'a')};
    fuzz::refuses_or_reads({ErrorKind::InvalidArgument}, [&] {
      const auto batch = tokenizer.encode_batch(texts, true);
      fuzz::expect(batch.size() == texts.size());
      for (size_t i = 0; i < texts.size(); ++i) {
        fuzz::expect(tokenizer.encode(texts[i], true) == batch[i]);
        fuzz::refuses_or_reads({ErrorKind::InvalidArgument}, [&] { tokenizer.decode(batch[i], true); });
      }
      tokenizer.prefix_ids();
    });
    fuzz::refuses_or_reads({ErrorKind::InvalidArgument}, [&] { tokenizer.decode({0, 1, 2, 300, 0xFFFFFFFF}, false); });
  });
  return 0;
}
