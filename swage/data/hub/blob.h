// One blob on its way into the cache: gone on with after every break, checked when it is whole, then in its place.
#pragma once
#include <filesystem>
#include <string>

#include "swage/base/context.h"
#include "swage/data/hub/remote.h"

namespace swage::data {

class BlobDownload {
 public:
  struct Source {
    std::string what;  // names the file in messages
    FileMeta meta;
  };
  // The bytes gather in BLOB.incomplete, as huggingface_hub names it.
  BlobDownload(HubHttp& http, Source source, std::filesystem::path blob, const Context& context);
  // Error(Io) when it breaks off again and again without a byte; Error(CorruptData) if size or digest are not those
  // announced, twice.
  void run(TransferProgress& progress);

 private:
  struct State;
  void fill(State& state, TransferProgress& progress);
  bool take(HttpReply& reply, State& state, TransferProgress& progress);
  std::string wrong_digest(State& state) const;

  HubHttp& http_;
  Source source_;
  std::filesystem::path blob_, incomplete_;
  const Context& context_;
};

}  // namespace swage::data
