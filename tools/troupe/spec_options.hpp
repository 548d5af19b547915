// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <CLI/App.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The options that describe a job: one table for `troupe run`, `troupe submit` and the #TROUPE
// lines of scripts.

namespace troupe::cli {

/// A job as its options tell it, with what only the command line needs to know.
struct job_options {
  job_spec spec;
  std::vector<std::string> environment; ///< of --env, in order
  bool clean_environment = false;
  bool dry_run = false;
  bool label = false;
  bool show_binding = false;
  bool pty = false;
  bool stdout_given = false;
  bool stderr_given = false;
  bool mpi_given = false;
};

/// One option: how it is written, what it means, and how its value gets into a job.
struct spec_option {
  const char* names;   ///< "-n,--tasks"
  const char* metavar; ///< "" for a flag
  const char* help;
  expected<void> (*apply)(job_options& to, std::string_view value);
  /// #TROUPE lines may have it too.
  bool in_scripts = true;
};

std::span<const spec_option> spec_options();

/// An option that was given, with its value.
struct given_option {
  const spec_option* option;
  std::string value;
};

/// Defines the options on `app`; parsing appends what is given to `given`, which must outlive
/// `app`.
void define_spec_options(CLI::App& app, std::vector<given_option>& given);

/// Puts what was given into `to`. An error names the option: "--mem: '12Q' is no memory size; …".
expected<void> apply_options(const std::vector<given_option>& given, job_options& to);

/// Where a command begins among the words after "troupe run": its options end at the first word
/// that is neither an option nor an option's value. An error names an unknown option.
expected<std::size_t> find_command(const CLI::App& app, std::span<const std::string> words);

} // namespace troupe::cli
