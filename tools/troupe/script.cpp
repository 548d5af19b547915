// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/script.hpp"

#include "base/unique_fd.hpp"
#include "runtime/varlink/socket_address.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::cli {

namespace {

constexpr std::string_view marker = "#TROUPE";

expected<std::string> read_file(const std::string& path, int fd) {
  std::string text;
  std::string chunk(64 * 1024, '\0');
  while (text.size() <= script_bytes_max) {
    auto got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0)
      return fail(errc::storage,
                  "cannot read the script " + path + ": " + varlink::system_message(errno));
    if (got == 0)
      return text;
    text.append(chunk, 0, static_cast<std::size_t>(got));
  }
  return fail(errc::invalid, "the script " + path + " has more than " +
                                 std::to_string(script_bytes_max) +
                                 " bytes; let a shorter script start it");
}

/// Whether the file behind `fd` begins with "#!".
bool is_script(int fd) {
  char head[2] = {};
  return ::pread(fd, head, 2, 0) == 2 && head[0] == '#' && head[1] == '!';
}

expected<std::optional<std::string>> unreadable(const std::string& path, int number) {
  // A program need not be readable to be run.
  if (number == EACCES && ::access(path.c_str(), X_OK) == 0)
    return std::optional<std::string>{};
  return fail(errc::not_found, "cannot read " + path + ": " + varlink::system_message(number));
}

/// Splits a line into words as a shell does: blanks separate, quotes and backslashes keep together,
/// '#' begins a comment. False for a quote that is not closed.
bool split_words(std::string_view line, std::vector<std::string>& words) {
  std::string word;
  bool inside = false;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
      word += line[++i];
      inside = true;
    } else if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '"' || c == '\'') {
      quote = c;
      inside = true;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      if (std::exchange(inside, false))
        words.push_back(std::exchange(word, {}));
    } else if (c == '#' && !inside) {
      break;
    } else {
      word += c;
      inside = true;
    }
  }
  if (inside)
    words.push_back(word);
  return quote == 0;
}

expected<void> parse_line(std::string_view line, std::vector<given_option>& to) {
  std::vector<std::string> words;
  if (!split_words(line, words))
    return fail(errc::invalid, "a quote is not closed");
  CLI::App app;
  app.set_help_flag();
  std::vector<given_option> given;
  define_spec_options(app, given);
  auto rest = find_command(app, words);
  if (!rest)
    return tl::unexpected{rest.error()};
  if (*rest != words.size())
    return fail(errc::invalid, "'" + words[*rest].substr(0, 80) +
                                   "' is no option; #TROUPE lines have options only");
  try {
    std::reverse(words.begin(), words.end());
    app.parse(std::move(words));
  } catch (const CLI::ParseError& wrong) {
    return fail(errc::invalid, wrong.what());
  }
  for (const auto& one : given)
    if (!one.option->in_scripts)
      return fail(errc::invalid, std::string{one.option->names} +
                                     " belongs on the command line, not into a script");
  job_options scratch;
  if (auto fits = apply_options(given, scratch); !fits)
    return fits;
  to.insert(to.end(), given.begin(), given.end());
  return {};
}

} // namespace

expected<std::optional<std::string>> read_script(const std::string& word) {
  bool is_path = word.find('/') != std::string::npos;
  unique_fd fd{::open(word.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd)
    return is_path ? unreadable(word, errno) : std::optional<std::string>{};
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0 || !S_ISREG(found.st_mode)) {
    if (is_path)
      return fail(errc::invalid, word + " is no file that can be run");
    return std::optional<std::string>{};
  }
  if (!is_script(fd.get())) {
    if (is_path && (found.st_mode & 0111) == 0)
      return fail(errc::invalid,
                  word + " is neither a program nor a script; begin a script with #!/bin/sh");
    return std::optional<std::string>{};
  }
  auto text = read_file(word, fd.get());
  if (!text)
    return tl::unexpected{text.error()};
  return std::optional<std::string>{std::move(*text)};
}

expected<std::vector<given_option>> script_options(const std::string& file, std::string_view text) {
  std::vector<given_option> given;
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    auto first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos)
      continue;
    if (line[first] != '#')
      break;
    if (line.substr(0, marker.size()) != marker)
      continue;
    auto rest = line.substr(marker.size());
    if (!rest.empty() && rest.front() != ' ' && rest.front() != '\t' && rest.front() != '\r')
      continue;
    if (auto parsed = parse_line(rest, given); !parsed)
      return fail(errc::invalid, file + ":" + std::to_string(number) + ": " + parsed.error().text);
  }
  return given;
}

} // namespace troupe::cli
