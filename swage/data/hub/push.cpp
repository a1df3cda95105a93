#include "swage/data/hub/push.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <vector>

#include "swage/base/error.h"
#include "swage/data/bridge.h"
#include "swage/data/hub/remote.h"
#include "swage/io/file_descriptor.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr size_t kSampleBytes = 512;                  // by which the hub tells text from other files
constexpr size_t kFilesAtOnce = 100;                  // in one question to the hub
constexpr uint64_t kMostInline = uint64_t{64} << 20;  // of a file that the hub wants inside the commit
constexpr char kLfs[] = "application/vnd.git-lfs+json";

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? uint8_t(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : kDigits[group >> (18 - 6 * k) & 63];
  }
  return out;
}

struct LocalFile {
  std::string name;  // in the repository, with slashes
  fs::path path;
  uint64_t size = 0;
  bool is_large = false, ignored = false;
  std::string sha256;  // of a large one
};

// What of a folder goes out: everything that is not hidden.
std::vector<LocalFile> files_of(const fs::path& folder) {
  std::error_code error;
  SWAGE_CHECK(fs::is_directory(folder, error), InvalidArgument, folder.string(), ": no such folder");
  SWAGE_CHECK(fs::exists(folder / "config.json", error), InvalidArgument, folder.string(),
              ": no config.json, so this is no model's folder");
  std::vector<LocalFile> files;
  auto entry = fs::recursive_directory_iterator(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().lexically_relative(folder).generic_string();
    if (entry->path().filename().string().starts_with('.')) {
      if (entry->is_directory(error)) entry.disable_recursion_pending();
      continue;
    }
    if (!entry->is_regular_file(error)) continue;
    SWAGE_CHECK(is_safe_path(name), InvalidArgument, entry->path().string(), ": the hub takes no file of that name");
    files.push_back({name, entry->path(), uint64_t(entry->file_size(error)), {}});
  }
  if (error) throw Error(ErrorKind::Io, cat(folder.string(), ": cannot be listed: ", error.message()));
  std::sort(files.begin(), files.end(), [](const LocalFile& a, const LocalFile& b) { return a.name < b.name; });
  return files;
}

std::string first_bytes(const LocalFile& file, uint64_t count) {
  std::string bytes(std::min(count, file.size), '\0');
  if (!bytes.empty()) io::FileDescriptor(file.path, O_RDONLY).read_at(bytes.data(), bytes.size(), 0);
  return bytes;
}

// A repository of the hub, and how it is spoken to.
class Repository {
 public:
  Repository(const HubRepo& repo, const std::string& revision, const HubOptions& options, const Context& context)
      : title_(repo.id),
        revision_(revision),
        http_(options, context),
        api_(cat(http_.endpoint(), "/api/models/", repo.id)) {
    SWAGE_CHECK(http_.has_token(), InvalidArgument,
                "uploading needs a token: set HF_TOKEN to one with the right to write (", http_.endpoint(),
                "/settings/tokens)");
  }

  const std::string& title() const { return title_; }
  const std::string& revision() const { return revision_; }
  HubHttp& http() { return http_; }
  // The URL of something that is done to the branch: ".../commit/main".
  std::string branch(std::string_view what) const { return cat(api_, "/", what, "/", url_quoted(revision_, true)); }
  bool exists() { return http_.send({.url = api_}, title_).ok(); }

  // An answer that has to be good.
  HttpReply ask(const std::string& url, const std::string& body, const char* type, const std::string& what) {
    HttpReply reply = answer(url, body, type, what);
    if (!reply.ok()) refuse(reply, what);
    return reply;
  }
  HttpReply answer(const std::string& url, const std::string& body, const char* type, const std::string& what) {
    return http_.send(
        {.method = "POST",
         .url = url,
         .headers = {{"Content-Type", type}, {"Accept", type == std::string_view(kLfs) ? kLfs : "application/json"}},
         .body = body},
        what);
  }
  [[noreturn]] void refuse(HttpReply& reply, const std::string& what) {
    std::string why = printable(reply.header("x-error-message"));
    if (why.empty()) why = printable(reply.text(1 << 20));
    const int status = reply.status();
    if (status == 401 || status == 403)
      why += cat(why.empty() ? "" : "; ", "the token needs the right to write to ", title_, " (HF_TOKEN)");
    throw Error(ErrorKind::Io, cat(what, ": the hub refuses (", status, ")", why.empty() ? "" : ": " + why));
  }
  Json json_of(HttpReply reply, const std::string& what) {
    const std::string text = reply.text();
    return parse_json(text, what + ": the hub's answer");
  }

 private:
  const std::string title_, revision_;
  HubHttp http_;
  const std::string api_;
};

// Upload of the files that the hub keeps outside its commits: hashed, offered, and sent where it does not have them.
class LargeFiles {
 public:
  LargeFiles(Repository& repository, const Context& context) : repository_(repository), context_(context) {}

  // Bytes that went out.
  uint64_t send(std::vector<LocalFile>& files) {
    std::vector<LocalFile*> large;
    uint64_t total = 0;
    for (LocalFile& file : files) {
      if (!file.is_large || file.ignored) continue;
      large.push_back(&file);
      total += file.size;
    }
    hash(large, total);
    uint64_t missing = 0;
    std::vector<std::pair<LocalFile*, Json>> uploads;
    for (size_t begin = 0; begin < large.size(); begin += kFilesAtOnce) {
      for (auto& [file, actions] :
           ask_uploads({large.begin() + ptrdiff_t(begin),
                        large.begin() + ptrdiff_t(std::min(large.size(), begin + kFilesAtOnce))})) {
        missing += file->size;
        uploads.emplace_back(file, std::move(actions));
      }
    }
    if (!large.empty()) {
      context_.log(
          Severity::Info,
          cat("uploading to ", repository_.title(), ": ", transfer_size(missing), " in ", uploads.size(),
              uploads.size() == 1 ? " large file" : " large files",
              uploads.size() < large.size() ? cat("; ", large.size() - uploads.size(), " are there already") : ""));
    }
    TransferProgress progress("uploading", missing, context_);
    repository_.http().on_sent = [&](uint64_t bytes) { progress.set(bytes); };
    for (auto& [file, actions] : uploads) {
      progress.begin(cat(repository_.title(), "/", file->name));
      send_one(*file, actions);
    }
    repository_.http().on_sent = [](uint64_t) {};
    return missing;
  }

 private:
  void hash(const std::vector<LocalFile*>& files, uint64_t total) {
    TransferProgress progress("hashing", total, context_);
    std::vector<char> piece(size_t{1} << 20);
    for (LocalFile* file : files) {
      progress.begin(file->name);
      const io::FileDescriptor in(file->path, O_RDONLY);
      auto digest = bridge::sha256();
      for (uint64_t at = 0; at < file->size;) {
        context_.check_cancelled();
        const uint64_t count = std::min<uint64_t>(piece.size(), file->size - at);
        in.read_at(piece.data(), count, at);
        digest->update({reinterpret_cast<const uint8_t*>(piece.data()), size_t(count)});
        progress.add(int64_t(count));
        at += count;
      }
      file->sha256 = std::string(digest->hex());
    }
  }

  // Those of the files that the hub does not have, with what it wants done.
  std::vector<std::pair<LocalFile*, Json>> ask_uploads(const std::vector<LocalFile*>& files) {
    Json objects = Json::array(), transfers = Json::array(), asked = Json::object(), ref = Json::object();
    std::map<std::string, LocalFile*> by_digest;
    for (LocalFile* file : files) {
      if (!by_digest.emplace(file->sha256, file).second) continue;  // two files of one content
      Json one = Json::object();
      one.set("oid", file->sha256);
      one.set("size", file->size);
      objects.push_back(std::move(one));
    }
    for (const char* transfer : {"basic", "multipart"}) transfers.push_back(transfer);
    ref.set("name", repository_.revision());
    asked.set("operation", "upload");
    asked.set("transfers", std::move(transfers));
    asked.set("objects", std::move(objects));
    asked.set("hash_algo", "sha256");
    asked.set("ref", std::move(ref));
    const Json answered = repository_.json_of(
        repository_.ask(cat(repository_.http().endpoint(), "/", repository_.title(), ".git/info/lfs/objects/batch"),
                        asked.dump(), kLfs, repository_.title()),
        repository_.title());
    std::vector<std::pair<LocalFile*, Json>> out;
    for (const Json& one : answered.at("objects").as_array()) {
      const auto found = by_digest.find(one.get_string("oid", ""));
      SWAGE_CHECK(found != by_digest.end(), CorruptData, repository_.title(),
                  ": the hub speaks of a file that is none of this folder");
      if (const Json* error = one.find("error")) {
        throw Error(ErrorKind::Io, cat(repository_.title(), "/", found->second->name, ": the hub refuses: ",
                                       printable(error->get_string("message", "no reason given"))));
      }
      const Json* actions = one.find("actions");
      if (actions != nullptr && actions->find("upload") != nullptr) out.emplace_back(found->second, *actions);
    }
    return out;
  }

  void send_one(const LocalFile& file, const Json& actions) {
    const std::string what = cat(repository_.title(), "/", file.name);
    const Json& upload = actions.at("upload");
    const std::string url = upload.at("href").as_string();
    const Json* header = upload.find("header");
    const std::string chunk = header == nullptr ? "" : header->get_string("chunk_size", "");
    if (chunk.empty()) {
      HttpRequest request{.method = "PUT", .url = url, .file = file.path, .offset = 0, .length = file.size};
      if (header != nullptr) add_headers(*header, request);
      put(request, what);
    } else {
      send_parts(file, *header, chunk, url, what);
    }
    if (const Json* verify = actions.find("verify")) {
      Json asked = Json::object();
      asked.set("oid", file.sha256);
      asked.set("size", file.size);
      repository_.ask(verify->at("href").as_string(), asked.dump(), kLfs, what);
    }
  }

  static void add_headers(const Json& header, HttpRequest& request) {
    for (const auto& [name, value] : header.as_object()) {
      if (value.is_string() && printable(name) == name && printable(value.as_string(), 4096) == value.as_string())
        request.headers.emplace_back(name, value.as_string());
    }
  }

  // Returns the part's etag.
  std::string put(const HttpRequest& request, const std::string& what) {
    HttpReply reply = repository_.http().send(request, what);
    SWAGE_CHECK(reply.ok(), Io, what, ": the store refuses the upload (", reply.status(), ")");
    return reply.header("etag");
  }

  // The URLs of the parts stand under "1", "2", ... or "00001", "00002", ...
  void send_parts(const LocalFile& file, const Json& header, const std::string& chunk, const std::string& url,
                  const std::string& what) {
    const bool number = chunk.size() < 16 &&
                        std::all_of(
                            chunk.begin(), chunk.end(), [](unsigned char c) { return std::isdigit(c); }) &&
                        std::stoull(chunk) > 0;
    SWAGE_CHECK(number, CorruptData, what, ": the hub wants parts of \"", printable(chunk), "\" bytes");
    const uint64_t part_bytes = std::stoull(chunk);
    std::map<uint64_t, std::string> urls;
    for (const auto& [name, value] : header.as_object()) {
      const bool is_part = !name.empty() && name.size() < 10 &&
                           std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
      if (is_part) urls[std::stoull(name)] = value.as_string();
    }
    const uint64_t parts = (file.size + part_bytes - 1) / part_bytes;
    SWAGE_CHECK(urls.size() == parts && urls.rbegin()->first == parts, CorruptData, what, ": the hub names ",
                urls.size(), " parts of ", part_bytes, " bytes for ", file.size);
    Json done = Json::array();
    for (const auto& [index, part_url] : urls) {
      const uint64_t offset = (index - 1) * part_bytes;
      Json one = Json::object();
      one.set("partNumber", index);
      one.set("etag", put({.method = "PUT",
                           .url = part_url,
                           .file = file.path,
                           .offset = offset,
                           .length = std::min(part_bytes, file.size - offset)},
                          what));
      done.push_back(std::move(one));
    }
    Json asked = Json::object();
    asked.set("oid", file.sha256);
    asked.set("parts", std::move(done));
    repository_.ask(url, asked.dump(), kLfs, what);
  }

  Repository& repository_;
  const Context& context_;
};

// A folder on its way into a repository: which files go how, the large ones first, then the commit that has them all.
class Push {
 public:
  Push(const PushRequest& request, const HubRepo& repo, const HubOptions& options, const Context& context)
      : request_(request),
        context_(context),
        files_(files_of(request.folder)),
        repository_(repo, request.revision, options, context) {}

  Json run() {
    const bool created = make_repository();
    if (request_.revision != "main") make_branch();
    for (size_t begin = 0; begin < files_.size(); begin += kFilesAtOnce)
      ask_modes(begin, std::min(files_.size(), begin + kFilesAtOnce));
    const uint64_t sent = LargeFiles(repository_, context_).send(files_);
    const Json commit = send_commit();
    Json out = Json::object();
    uint64_t bytes = 0, count = 0;
    for (const LocalFile& file : files_) {
      bytes += file.ignored ? 0 : file.size;
      count += file.ignored ? 0 : 1;
    }
    out.set("repository", repository_.title());
    out.set("url", cat(repository_.http().endpoint(), "/", repository_.title(),
                       request_.revision == "main" ? "" : "/tree/" + request_.revision));
    out.set("commit", commit.get_string("commitOid", ""));
    out.set("created", created);
    out.set("files", count);
    out.set("bytes", bytes);
    out.set("uploaded_bytes", sent);
    return out;
  }

 private:
  bool make_repository() {
    Json asked = Json::object();
    const size_t slash = repository_.title().find('/');
    asked.set("name", repository_.title().substr(slash == std::string::npos ? 0 : slash + 1));
    if (slash != std::string::npos) asked.set("organization", repository_.title().substr(0, slash));
    asked.set("type", "model");
    if (request_.is_private) asked.set("private", *request_.is_private);
    HttpReply reply = repository_.answer(repository_.http().endpoint() + "/api/repos/create", asked.dump(),
                                         "application/json", repository_.title());
    if (reply.ok()) return true;
    if (reply.status() == 403 && repository_.exists()) return false;  // a token for existing repositories only
    if (reply.status() != 409) repository_.refuse(reply, repository_.title());
    if (request_.is_private)
      context_.log(Severity::Info, cat(repository_.title(), " is there already; who may see it stays as it is"));
    return false;
  }

  void make_branch() {
    HttpReply reply = repository_.answer(repository_.branch("branch"), "{}", "application/json", repository_.title());
    if (!reply.ok() && reply.status() != 409) repository_.refuse(reply, repository_.title());
  }

  void ask_modes(size_t begin, size_t end) {
    Json list = Json::array();
    for (size_t i = begin; i < end; ++i) {
      Json one = Json::object();
      one.set("path", files_[i].name);
      one.set("sample", base64(first_bytes(files_[i], kSampleBytes)));
      one.set("size", files_[i].size);
      list.push_back(std::move(one));
    }
    Json asked = Json::object();
    asked.set("files", std::move(list));
    const Json answered = repository_.json_of(
        repository_.ask(repository_.branch("preupload"), asked.dump(), "application/json", repository_.title()),
        repository_.title());
    std::map<std::string, const Json*> modes;
    for (const Json& one : answered.at("files").as_array()) modes[one.get_string("path", "")] = &one;
    for (size_t i = begin; i < end; ++i) {
      const auto found = modes.find(files_[i].name);
      SWAGE_CHECK(found != modes.end(), CorruptData, repository_.title(), ": the hub does not say how it takes ",
                  files_[i].name);
      files_[i].is_large = found->second->get_string("uploadMode", "") == "lfs";
      files_[i].ignored = found->second->get_bool("shouldIgnore", false);
      if (files_[i].ignored)
        context_.log(Severity::Info, cat(files_[i].name, ": left out, as the repository's .gitignore says"));
    }
  }

  Json send_commit() {
    const auto line = [](const char* key, Json value) {
      Json out = Json::object();
      out.set("key", key);
      out.set("value", std::move(value));
      return out.dump() + "\n";
    };
    Json header = Json::object();
    header.set("summary", request_.message);
    header.set("description", "");
    std::string body = line("header", std::move(header));
    for (const LocalFile& file : files_) {
      if (file.ignored) continue;
      Json value = Json::object();
      value.set("path", file.name);
      if (file.is_large) {
        value.set("algo", "sha256");
        value.set("oid", file.sha256);
        value.set("size", file.size);
      } else {
        SWAGE_CHECK(file.size <= kMostInline, Unsupported, file.name, ": the hub wants ", file.size,
                    " bytes inside the commit");
        value.set("content", base64(first_bytes(file, file.size)));
        value.set("encoding", "base64");
      }
      body += line(file.is_large ? "lfsFile" : "file", std::move(value));
    }
    return repository_.json_of(
        repository_.ask(repository_.branch("commit"), body, "application/x-ndjson", repository_.title()),
        repository_.title());
  }

  const PushRequest& request_;
  const Context& context_;
  std::vector<LocalFile> files_;
  Repository repository_;
};

}  // namespace

Json push_folder(const PushRequest& request, const HubOptions& options, const Context& context) {
  const auto repo = parse_hub_id(request.repo);
  SWAGE_CHECK(repo && request.repo.find('@') == std::string::npos, InvalidArgument, request.repo,
              ": expected a repository of the hub, \"org/name\"");
  SWAGE_CHECK(parse_hub_id("x@" + request.revision), InvalidArgument, request.revision, ": no name of a branch");
  SWAGE_CHECK(!request.message.empty(), InvalidArgument, "the commit's message is empty");
  SWAGE_CHECK(!options.offline, Io, request.repo, ": nothing is uploaded, because HF_HUB_OFFLINE is set");
  return Push(request, *repo, options, context).run();
}

}  // namespace swage::data
