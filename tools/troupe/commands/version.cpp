// SPDX-License-Identifier: Apache-2.0
#include "messages/json.hpp"
#include "tools/troupe/command.hpp"

namespace troupe::cli {

void define_version(CLI::App& app, invocation& run) {
  (void)app;
  run.act = [&run] {
    std::string text = "{\"version\":";
    append_json_string(text, TROUPE_VERSION);
    text += "}\n";
    return print(run.json ? text : "troupe " TROUPE_VERSION "\n") ? exit_code::done
                                                                  : exit_code::failed;
  };
}

} // namespace troupe::cli
