#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

struct PushRequest {
  PushOptions options;
  bool is_private = false, is_public = false;
};

int run_push(PushRequest& request, const Common& common) {
  PushOptions& options = request.options;
  options.hub = hub_settings();
  if (request.is_private || request.is_public) options.is_private = request.is_private;
  const Json result = library().push(options, make_context(common));
  common.console->end_line();
  if (common.json) {
    print_json("push", result);
    return 0;
  }
  std::fputs(
      two_columns({{"repository", cat(result.get_string("url", ""), result.get_bool("created", false) ? " (new)" : "")},
                   {"commit", result.get_string("commit", "")},
                   {"files", cat(result.get_int("files", 0), ", ", bytes_text(result.get_int("bytes", 0)))},
                   {"uploaded", bytes_text(result.get_int("uploaded_bytes", 0)) + " in large files"}})
          .c_str(),
      stdout);
  return 0;
}

}  // namespace

void add_push(Program& program) {
  auto request = std::make_shared<PushRequest>();
  PushOptions& o = request->options;
  CLI::App* command = program.app.add_subcommand("push", "upload a model's folder to the hub, in one commit");
  command->footer(
      "Needs a token with the right to write, from HF_TOKEN or the file that `hf auth login` leaves. The repository is "
      "made if it is not\n"
      "there. Large files that the hub has already are not sent again, so an upload that broke off is gone on with by "
      "the same command.\n\n"
      "Examples:\n  swage push ./SmolLM2-W4 me/SmolLM2-135M-W4A16 --private\n"
      "  swage push ./SmolLM2-W4 me/SmolLM2-135M-W4A16 --revision v2 -m \"Group size 64\"");
  command->add_option("folder", o.folder, "folder of a model")->required()->type_name("DIR");
  command->add_option("repo", o.repo, "org/name on the hub")->required()->type_name("REPO");
  auto* hidden = command->add_flag("--private", request->is_private, "a new repository is for its owner alone");
  command->add_flag("--public", request->is_public, "a new repository is for everybody")->excludes(hidden);
  command->add_option("--revision", o.revision, "branch to commit to; made if it is not there")
      ->capture_default_str()
      ->type_name("NAME");
  command->add_option("-m,--message", o.message, "what the commit says")->capture_default_str()->type_name("TEXT");
  add_json(*command, program.common);
  program.on(command, request, run_push);
}

}  // namespace swage::cli
