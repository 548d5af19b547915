// SPDX-License-Identifier: Apache-2.0
#include "tools/trouped/options.hpp"

#include <CLI/CLI.hpp>

namespace troupe::daemon {

std::optional<options> read_options(int argc, char** argv, int& exit_code) {
  options result;
  CLI::App app{"trouped: the daemon of a Troupe cluster. 'troupe up' starts it.", "trouped"};
  app.set_version_flag("--version", "trouped " TROUPE_VERSION);
  app.add_flag("--private", result.is_private, "a private cluster: every role here, as this user")
      ->required();
  app.add_flag("--foreground", result.foreground, "log to the terminal");
  app.add_option("--state", result.state, "state directory")->required();
  app.add_option("--socket", result.socket, "socket for clients")->required();
  app.add_option("--config", result.config, "configuration file");
  app.add_option("--nodes", result.nodes, "number of nodes")->check(CLI::Range(1, 64));
  app.add_option("--cores", result.cores, "cores per node; 0: an equal part of the machine")
      ->check(CLI::Range(0, 1024));
  app.add_option("--memory", result.memory_bytes, "bytes per node; 0: an equal part");
  app.add_option("--ledger", result.ledger,
                 "serve nobody, but 'check', 'rebuild' or 'backup=FILE' the ledger");
  app.add_flag("--paused", result.paused, "start no job: the cluster is to be stopped");
  app.add_option("--attached-grace", result.attached_grace_s,
                 "seconds until a job of 'troupe run' is ended whose client is gone (60)")
      ->check(CLI::Range(1, 86400));
  app.add_option("--journal", result.journal,
                 "socket of the system's journal, which the audit chain's heads go to");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    exit_code = app.exit(problem) == 0 ? 0 : 2;
    return std::nullopt;
  }
  return result;
}

} // namespace troupe::daemon
