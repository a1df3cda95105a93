// A conversation on the terminal.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "apps/cli/commands.h"
#include "apps/cli/engine_options.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/numbers.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

constexpr const char* kHelp =
    "/help            this list\n"
    "/system TEXT     the system message; begins a new conversation\n"
    "/new             begins a new conversation\n"
    "/again           another answer to the last question\n"
    "/set NAME VALUE  temperature, top-k, top-p, min-p, max-new-tokens, seed and other options of sampling\n"
    "/show            the conversation so far\n"
    "/exit            ends; so does the end of the input (Ctrl-D)\n"
    "A line that ends with a backslash goes on with the next one; between lines of three quotes (\"\"\") all lines\n"
    "belong together. Ctrl-C stops an answer.\n";

struct ChatAsked {
  EngineOptions engine;
  runtime::Request request;
  std::string system;
};

Json message(const char* role, const std::string& content) {
  Json out = Json::object();
  out.set("role", role);
  out.set("content", content);
  return out;
}

// Lines from stdin, by read() itself: an interrupted one ends.
class Lines {
 public:
  explicit Lines(std::atomic<bool>& interrupted) : interrupted_(interrupted) {}

  // Nothing at the input's end. `prompt` is for terminals.
  std::optional<std::string> next(const char* prompt) {
    say(prompt);
    while (true) {
      const size_t end = waiting_.find('\n');
      if (end != std::string::npos) {
        std::string line = waiting_.substr(0, end);
        waiting_.erase(0, end + 1);
        return line;
      }
      char piece[4096];
      const ssize_t count = ::read(STDIN_FILENO, piece, sizeof piece);
      if (count > 0) {
        waiting_.append(piece, size_t(count));
      } else if (count < 0 && errno == EINTR && interrupted_.exchange(false)) {
        say("\n(/exit ends)\n");
        say(prompt);
      } else if (count == 0 || errno != EINTR) {
        if (waiting_.empty()) return {};
        return std::exchange(waiting_, {});
      }
    }
  }

 private:
  void say(const char* text) const {
    if (!is_terminal_) return;
    std::fputs(text, stdout);
    std::fflush(stdout);
  }

  std::atomic<bool>& interrupted_;
  const bool is_terminal_ = ::isatty(STDIN_FILENO) != 0;
  std::string waiting_;
};

class Chat {
 public:
  Chat(Engine& engine, const ChatAsked& asked, std::atomic<bool>& interrupted)
      : engine_(engine),
        request_(asked.request),
        system_(asked.system),
        interrupted_(interrupted),
        lines_(interrupted) {}

  void run() {
    begin();
    while (const std::optional<std::string> said = read()) {
      if (said->empty()) continue;
      if (said->front() == '/') {
        if (!obey(*said)) return;
        continue;
      }
      messages_.push_back(message("user", *said));
      answer();
    }
  }

 private:
  void begin() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back(message("system", system_));
  }

  // What is said next, over several lines if they belong together.
  std::optional<std::string> read() {
    std::optional<std::string> line = lines_.next("> ");
    if (!line) return {};
    std::string said;
    if (*line == "\"\"\"") {
      while ((line = lines_.next(". ")) && *line != "\"\"\"") said += *line + "\n";
      return said;
    }
    while (line && line->ends_with('\\')) {
      said += line->substr(0, line->size() - 1) + "\n";
      line = lines_.next(". ");
    }
    return said + line.value_or("");
  }

  // False ends the conversation.
  bool obey(const std::string& said) {
    const size_t space = said.find(' ');
    const std::string word = said.substr(0, space), rest = space == std::string::npos ? "" : said.substr(space + 1);
    if (word == "/exit" || word == "/quit") return false;
    if (word == "/new") {
      begin();
    } else if (word == "/system") {
      system_ = rest;
      begin();
    } else if (word == "/again") {
      answer_again();
    } else if (word == "/set") {
      set(rest);
    } else if (word == "/show") {
      for (const Json& one : messages_)
        std::printf("%s: %s\n", one.get_string("role", "").c_str(), one.get_string("content", "").c_str());
    } else {
      if (word != "/help") std::printf("%s: no such command\n", word.c_str());
      std::fputs(kHelp, stdout);
    }
    std::fflush(stdout);
    return true;
  }

  // Takes what the options of the same names take.
  void set(const std::string& rest) {
    const size_t space = rest.find(' ');
    const std::string name = rest.substr(0, space), text = space == std::string::npos ? "" : rest.substr(space + 1);
    runtime::Request changed = request_;
    CLI::App settings;
    add_sampling(settings, changed);
    settings.add_option("--seed", changed.sampling.seed)->check(whole_number<uint64_t>(0));
    if (settings.get_option_no_throw("--" + name) == nullptr)
      return void(std::printf("/set %s: no such setting; /help lists them\n", name.c_str()));
    try {
      settings.parse(std::vector<std::string>{text, "--" + name});
      request_ = changed;
    } catch (const CLI::ParseError& e) {
      std::printf("/set %s\n", std::string_view(e.what()).substr(2).data());
    }
  }

  void answer_again() {
    if (!messages_.empty() && messages_.back().get_string("role", "") == "assistant") messages_.pop_back();
    if (messages_.empty() || messages_.back().get_string("role", "") != "user")
      return void(std::puts("nothing was asked yet"));
    ++request_.sampling.seed;
    answer();
  }

  void answer() {
    std::string text;
    try {
      runtime::Request request = request_;
      request.prompt = engine_.has_chat_template() ? engine_.encode_chat(Json(messages_))
                                                   : engine_.encode(messages_.back().get_string("content", ""), true);
      text = streamed(std::move(request));
    } catch (const Error& e) {  // too long a conversation, a setting that makes no sense
      std::printf("swage: %s\n", e.what());
      messages_.pop_back();
      return void(std::fflush(stdout));
    }
    messages_.push_back(message("assistant", text));
  }

  std::string streamed(runtime::Request request) {
    std::string text;
    interrupted_ = false;
    const auto id = engine_.submit(std::move(request), [&text](runtime::Event&& event) {
      text += event.text;
      std::fwrite(event.text.data(), 1, event.text.size(), stdout);
      if (!event.error.empty()) std::printf("\nswage: %s", event.error.c_str());
      std::fflush(stdout);
    });
    while (engine_.step()) {
      if (interrupted_.exchange(false)) engine_.cancel(id.value_or(0));
    }
    std::puts("");
    std::fflush(stdout);
    return text;
  }

  Engine& engine_;
  runtime::Request request_;
  std::string system_;
  std::atomic<bool>& interrupted_;
  Lines lines_;
  Json::Array messages_;
};

int run_chat(ChatAsked& asked, const Common& common) {
  SWAGE_CHECK(!common.json, InvalidArgument, "chat: --json is for commands that end by themselves; see generate");
  asked.engine.hub = hub_settings();
  asked.request.sampling.seed = common.seed;
  const Context context = make_context(common);
  const std::unique_ptr<Engine> engine = library().open_engine(asked.engine, context);
  Chat chat(*engine, asked, catch_interrupts_of_answers());
  chat.run();
  return 0;
}

}  // namespace

void add_chat(Program& program) {
  auto o = std::make_shared<ChatAsked>();
  o->request.max_new_tokens = 1024;
  CLI::App* command = program.app.add_subcommand("chat", "talk with a dense or compressed model");
  command->footer("Example:\n  swage chat ./SmolLM2-W4 --temperature 0.7 --top-p 0.9\n\nWhile it runs:\n" +
                  std::string(kHelp));
  command->add_option("model", o->engine.model, "folder of a checkpoint, or a hub id")->required()->type_name("MODEL");
  command->add_option("--system", o->system, "system message")->type_name("TEXT");
  add_sampling(*command, o->request);
  add_engine(*command, o->engine);
  add_compute(*command, program.common);
  add_json(*command, program.common);
  program.on(command, o, run_chat);
}

}  // namespace swage::cli
