#include "swage/data/hub.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <thread>

#include "swage/data/data_test_support.h"
#include "swage/data/hub/cache.h"

namespace swage::data {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr char kCommit[] = "0123456789abcdef0123456789abcdef01234567";

// The part of the hub that downloads need, on a port of this machine: a list of files, and the files with their commit.
class FakeHub {
 public:
  explicit FakeHub(std::map<std::string, std::string> files) : files_(std::move(files)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeHub() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  std::string endpoint() const { return cat("http://127.0.0.1:", port_); }
  std::string requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (int peer; (peer = accept(listener_, nullptr, nullptr)) >= 0; close(peer)) {
      std::string request;
      char buffer[4096];
      for (ssize_t n; request.find("\r\n\r\n") == std::string::npos && (n = read(peer, buffer, sizeof buffer)) > 0;) {
        request.append(buffer, size_t(n));
      }
      const std::string reply = answer(request);
      for (size_t sent = 0; sent < reply.size();) {
        const ssize_t n = send(peer, reply.data() + sent, reply.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += size_t(n);
      }
    }
  }

  std::string answer(const std::string& request) {
    const std::lock_guard lock(mutex_);
    requests_ += request;
    const size_t begin = request.find(' ') + 1;
    const std::string path = request.substr(begin, request.find(' ', begin) - begin);
    if (path.starts_with("/api/models/org/model/revision/main")) return reply("200 OK", "", listing());
    const std::string prefix = cat("/org/model/resolve/", kCommit, "/");
    const auto file = path.starts_with(prefix) ? files_.find(path.substr(prefix.size())) : files_.end();
    if (file == files_.end()) return reply("404 Not Found", "", "");
    const std::string headers =
        cat("x-repo-commit: ", kCommit, "\r\netag: \"", std::hash<std::string>()(file->first), "\"\r\n");
    const std::string whole = reply("200 OK", headers, file->second);
    return request.starts_with("HEAD") ? whole.substr(0, whole.find("\r\n\r\n") + 4) : whole;
  }

  std::string listing() const {
    Json siblings = Json::array();
    for (const auto& [name, text] : files_) {
      Json sibling = Json::object();
      sibling.set("rfilename", name);
      siblings.push_back(std::move(sibling));
    }
    Json info = Json::object();
    info.set("siblings", siblings);
    info.set("sha", kCommit);
    return info.dump();
  }

  static std::string reply(const char* status, const std::string& headers, const std::string& body) {
    return cat("HTTP/1.1 ", status, "\r\n", headers, "content-length: ", body.size(), "\r\nconnection: close\r\n\r\n",
               body);
  }

  std::map<std::string, std::string> files_;
  int listener_ = -1, port_ = 0;
  mutable std::mutex mutex_;
  std::string requests_;
  std::thread thread_;
};

// A cache as huggingface_hub leaves it.
void write_snapshot(const TemporaryFolder& folder, const std::map<std::string, std::string>& files) {
  const std::string repo = "hub/models--org--model/";
  folder.write(repo + "refs/main", kCommit);
  for (const auto& [name, text] : files) folder.write(cat(repo, "snapshots/", kCommit, "/", name), text);
}

HubOptions options_for(const TemporaryFolder& folder) {
  HubOptions options;
  options.cache_dir = folder.path() / "hub";
  options.offline = true;
  return options;
}

fs::path resolve(const std::string& name, const HubOptions& options) { return resolve_model(name, options, Context()); }

TEST(Hub, AnExistingFolderOrGgufFileIsItself) {
  const TemporaryFolder folder;
  EXPECT_EQ(resolve(folder.path().string(), {}), folder.path());
  const fs::path gguf = folder.write("m.gguf", "x");
  EXPECT_EQ(resolve(gguf.string(), {}), gguf);
  EXPECT_EQ(error_of([&] { resolve(folder.write("m.bin", "x").string(), {}); }).kind(), ErrorKind::InvalidArgument);
}

TEST(Hub, WhatIsNeitherFolderNorIdIsRefused) {
  const TemporaryFolder folder;
  for (const char* name :
       {"/no/such/folder", "./model", "../x", "a/b/c", "org/..", "org/", "/model", "a b", "org/model@", "~x/y"}) {
    EXPECT_EQ(error_of([&] { resolve(name, options_for(folder)); }).kind(), ErrorKind::Io) << name;
  }
  EXPECT_EQ(error_of([&] { resolve("", options_for(folder)); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { resolve("org/model", {}); }).kind(), ErrorKind::InvalidArgument);  // no cache folder
}

// Names come from a server, and become paths.
TEST(Hub, PathsThatCouldLeadOutAreUnsafe) {
  for (const char* path : {"config.json", "data/train-00000-of-00001.parquet", "a/b/c/d/e.json", "mit LICENSE.txt",
                           "r\u00e9sum\u00e9.json"})
    EXPECT_TRUE(is_safe_path(path)) << path;
  for (const char* path : {"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".gitattributes", "a/.git/x", "a\\b",
                           "a\nb", "a/b/c/d/e/f", "\xff.json"}) {
    EXPECT_FALSE(is_safe_path(path)) << path;
  }
  for (const char* name : {"", ".", "..", "a/b", "../x", "-x", "a b", "x..y"}) EXPECT_FALSE(is_safe_name(name)) << name;
}

TEST(Hub, IdsHaveRevisionsWithSlashes) {
  EXPECT_EQ(parse_hub_id("org/name@refs/convert/parquet")->revision, "refs/convert/parquet");
  EXPECT_EQ(parse_hub_id("org/name")->revision, "main");
  for (const char* id : {"org/name@", "org/name@../x", "org/name@a//b", "org/name@/a", "a/b/c"})
    EXPECT_FALSE(parse_hub_id(id)) << id;
}

TEST(Hub, TheCacheIsUsedWithoutTheNetwork) {
  const TemporaryFolder folder;
  write_snapshot(folder, {{"config.json", "{}"}, {"model.safetensors", "w"}});
  const fs::path expected = folder.path() / "hub/models--org--model/snapshots" / kCommit;
  EXPECT_EQ(resolve("org/model", options_for(folder)), expected);
  EXPECT_EQ(resolve("org/model@main", options_for(folder)), expected);
}

TEST(Hub, ErrorsSayWhatWasTried) {
  const TemporaryFolder folder;
  const Error absent = error_of([&] { resolve("org/model", options_for(folder)); });
  EXPECT_EQ(absent.kind(), ErrorKind::Io);
  EXPECT_THAT(absent.what(), testing::AllOf(HasSubstr("no such folder"), HasSubstr((folder.path() / "hub").string()),
                                            HasSubstr("HF_HUB_OFFLINE")));
  write_snapshot(folder, {{"config.json", "{}"},
                          {"model.safetensors.index.json",
                           R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})"},
                          {"model-1.safetensors", "w"}});
  EXPECT_THAT(error_of([&] { resolve("org/model", options_for(folder)); }).what(), HasSubstr("no model-2.safetensors"));
}

TEST(Hub, ACorruptIndexInTheCacheIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "not valid JSON"},
      {"{}", "weight_map"},
      {R"({"weight_map":[]})", "weight_map is not an object"},
      {R"({"weight_map":{"a":"../x"}})", "the shard of \"a\" is not a file name"},
      {R"({"weight_map":{"a":1}})", "the shard of \"a\" is not a file name"},
  };
  for (const auto& [index, message] : cases) {
    const TemporaryFolder folder;
    write_snapshot(folder, {{"config.json", "{}"}, {"model.safetensors.index.json", index}});
    const Error error = error_of([&] { resolve("org/model", options_for(folder)); });
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData) << index;
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(Hub, DownloadsWhatMakesTheModelAndNothingElse) {
  const TemporaryFolder folder;
  const std::map<std::string, std::string> files = {
      {"config.json", "{\"a\":1}"}, {"tokenizer.json", "{}"},    {"model.safetensors", std::string(100'000, 'w')},
      {"README.md", "card"},        {"pytorch_model.bin", "no"}, {"consolidated.safetensors", "no"},
      {"onnx/model.json", "no"},    {"../escape.json", "no"},    {"LICENSE", "licence"}};
  const FakeHub hub(files);
  HubOptions options = options_for(folder);
  options.offline = false;
  options.endpoint = hub.endpoint();
  options.token = "secret";
  std::string log;
  Context context;
  context.log = [&](Severity, const std::string& line) { log += line + "\n"; };
  const fs::path snapshot = resolve_model("org/model", options, context);
  EXPECT_EQ(read_text(snapshot / "config.json"), files.at("config.json"));
  EXPECT_EQ(read_text(snapshot / "model.safetensors"), files.at("model.safetensors"));
  for (const char* name : {"README.md", "LICENSE"}) EXPECT_EQ(read_text(snapshot / name), files.at(name));
  for (const char* name : {"../escape.json", "pytorch_model.bin", "consolidated.safetensors", "onnx"})
    EXPECT_FALSE(fs::exists(snapshot / name));
  EXPECT_THAT(log, HasSubstr("fetching org/model: 1 file"));
  EXPECT_THAT(hub.requests(), HasSubstr("Bearer secret"));
  EXPECT_EQ(resolve("org/model", options_for(folder)), snapshot);  // now out of the cache
}

TEST(Hub, ARepositoryWithoutSafetensorsIsUnsupported) {
  const TemporaryFolder folder;
  const FakeHub hub({{"config.json", "{}"}, {"pytorch_model.bin", "pickle"}});
  HubOptions options = options_for(folder);
  options.offline = false;
  options.endpoint = hub.endpoint();
  const Error error = error_of([&] { resolve("org/model", options); });
  EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
  EXPECT_THAT(error.what(), HasSubstr("safetensors"));
  const Error absent = error_of([&] { resolve("org/other", options); });
  EXPECT_EQ(absent.kind(), ErrorKind::Io);
  EXPECT_THAT(absent.what(), testing::AllOf(HasSubstr("404"), HasSubstr("org/other")));
}

TEST(Hub, AnUnreachableHubIsAnIoError) {
  const TemporaryFolder folder;
  HubOptions options = options_for(folder);
  options.offline = false;
  options.endpoint = "http://127.0.0.1:1";
  EXPECT_EQ(error_of([&] { resolve("org/model", options); }).kind(), ErrorKind::Io);
}

TEST(Hub, OptionsFollowTheEnvironmentOfHuggingFace) {
  const auto with = [](std::map<std::string, std::string> variables) {
    return hub_options([variables](const std::string& name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      return found == variables.end() ? std::nullopt : std::optional(found->second);
    });
  };
  EXPECT_EQ(with({}).cache_dir, "");
  EXPECT_EQ(with({{"HOME", "/h"}}).cache_dir, "/h/.cache/huggingface/hub");
  EXPECT_EQ(with({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}).cache_dir, "/x/huggingface/hub");
  EXPECT_EQ(with({{"HOME", "/h"}, {"HF_HOME", "/hf"}}).cache_dir, "/hf/hub");
  EXPECT_EQ(with({{"HF_HUB_CACHE", "/c"}, {"HF_HOME", "/hf"}}).cache_dir, "/c");
  EXPECT_EQ(with({}).endpoint, "https://huggingface.co");
  EXPECT_EQ(with({{"HF_ENDPOINT", "https://mirror/"}}).endpoint, "https://mirror");
  for (const char* yes : {"1", "true", "YES", "on"}) EXPECT_TRUE(with({{"HF_HUB_OFFLINE", yes}}).offline) << yes;
  EXPECT_TRUE(with({{"TRANSFORMERS_OFFLINE", "1"}}).offline);
  EXPECT_EQ(with({{"HOME", "/h"}, {"HF_HUB_CACHE", "~/c"}}).cache_dir, "/h/c");
  EXPECT_EQ(with({{"HF_HUB_DOWNLOAD_TIMEOUT", "7"}}).timeout_seconds, 7);
  EXPECT_EQ(with({{"HF_HUB_DOWNLOAD_TIMEOUT", "soon"}}).timeout_seconds, 30);
  EXPECT_FALSE(with({{"HF_HUB_OFFLINE", "0"}}).offline);
  const TemporaryFolder folder;
  folder.write("token", "from-file\n");
  EXPECT_EQ(with({{"HF_HOME", folder.path().string()}}).token, "from-file");
  EXPECT_EQ(with({{"HF_HOME", folder.path().string()}, {"HF_TOKEN", " own "}}).token, "own");
}

}  // namespace
}  // namespace swage::data
