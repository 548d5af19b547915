// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

// Pages for man(7), from the same definitions that --help prints: one source, no second text to
// forget.

namespace troupe::cli {

namespace {

/// Text for roff: no line begins a request, no backslash or hyphen changes its meaning.
std::string escaped(std::string_view text) {
  std::string out;
  bool line_begins = true;
  for (char c : text) {
    if (line_begins && (c == '.' || c == '\''))
      out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
    line_begins = c == '\n';
  }
  return out;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; });
  return text;
}

std::string header(const std::string& name, std::string_view summary) {
  return ".TH " + upper(escaped(name)) +
         " 1 \"\" \"Troupe " TROUPE_VERSION "\" \"Troupe\"\n.SH NAME\n" + escaped(name) + " \\- " +
         escaped(summary) + "\n";
}

std::string option_entry(const CLI::Option& option) {
  auto out = ".TP\n.B " + escaped(option.get_positional() ? option.get_name(true)
                                                          : option.get_name(false, true));
  if (!option.get_positional() && option.get_items_expected_min() > 0)
    out += " \\fI" + escaped(option.get_type_name()) + "\\fP";
  return out + "\n" + escaped(option.get_description()) + "\n";
}

std::string options_of(const CLI::App& app) {
  std::string out;
  for (const auto* option : app.get_options())
    out += option_entry(*option);
  return out;
}

const char* exit_text = ".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nthe request was refused or "
                        "failed; one line says why\n"
                        ".TP\n.B 2\nwrong usage\n.TP\n.B 75\nthe cluster cannot be reached\n";
const char* environment_text =
    ".SH ENVIRONMENT\n.TP\n.B TROUPE_SOCKET\nwhere a cluster listens that is not the one of the "
    "state directory; up and down do not look at it\n"
    ".TP\n.B TROUPE_STATE_DIR\nwhere a private cluster keeps its state, its socket and its locks: "
    "which cluster is meant\n";

std::string overview() {
  auto out = header("troupe", "run jobs on a cluster, or on this machine");
  out += ".SH SYNOPSIS\n.B troupe\n.I command\n[options] ...\n.SH DESCRIPTION\n"
         "Troupe runs jobs on a cluster. 'troupe up' starts a private one on this machine.\n.SH "
         "COMMANDS\n";
  for (const auto& one : commands())
    out += ".TP\n.B " + escaped(one.name) + "\n" + escaped(one.summary) + "; see troupe\\-" +
           one.name + "(1)\n";
  return out + exit_text + environment_text;
}

} // namespace

std::string man_page(const std::string& command_name) {
  if (command_name.empty())
    return overview();
  auto all = commands();
  auto at = std::find_if(all.begin(), all.end(),
                         [&](const command& one) { return command_name == one.name; });
  if (at == all.end())
    return {};
  invocation run;
  run.command = at->name;
  CLI::App app{at->summary};
  define(*at, app, run);
  auto out = header("troupe-" + command_name, at->summary);
  out += ".SH SYNOPSIS\n.B troupe " + command_name + "\n[options]";
  if (at->words != nullptr)
    out += std::string{" "} + at->words;
  for (const auto* option :
       app.get_options([](const CLI::Option* one) { return one->get_positional(); }))
    out += " \\fI" + escaped(option->get_name(true)) + "\\fP";
  if (!app.get_subcommands({}).empty())
    out += " \\fIaction\\fP";
  out += "\n.SH OPTIONS\n" + options_of(app);
  for (const auto* action : app.get_subcommands({}))
    out += ".SH \"ACTION " + upper(action->get_name()) + "\"\n" +
           escaped(action->get_description()) + ".\n" + options_of(*action);
  if (!app.get_footer().empty())
    out += ".SH NOTES\n" + escaped(app.get_footer()) + "\n";
  return out + exit_text + environment_text + ".SH SEE ALSO\ntroupe(1)\n";
}

} // namespace troupe::cli
