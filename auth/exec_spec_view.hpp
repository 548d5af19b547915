// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/domain.hpp"
#include "auth/view.hpp"

#include <sodium.h>

// What is executed, as one canonical byte string whose digest stands in requests, warrants and
// launch orders. Freestanding.
//
//   u8 version=1 | u8 flags | u16 0 | u32 argc | u32 envc | of a terminal: u16 rows, u16 columns
//   | u32-prefixed: cwd, stdin, stdout, stderr, script, argv[argc], "K=V"[envc]

namespace troupe::auth {

inline constexpr std::uint8_t spec_has_script = 1;
inline constexpr std::uint8_t spec_merges_stderr = 2;
inline constexpr std::uint8_t spec_has_shepherd = 4;    ///< its ranks start under troupe-shepherd
inline constexpr std::uint8_t spec_appends = 8;         ///< output files are added to
inline constexpr std::uint8_t spec_outlives_ranks = 16; ///< a rank that fails ends no other
inline constexpr std::uint8_t spec_has_terminal = 32;   ///< rank 0 has one of its own

inline constexpr std::uint32_t spec_argc_max = 4096;
inline constexpr std::uint32_t spec_envc_max = 4096;
inline constexpr std::size_t spec_string_bytes_max = 128 * 1024;
inline constexpr std::size_t spec_script_bytes_max = 1024 * 1024;
inline constexpr std::size_t spec_bytes_max = 2 * 1024 * 1024;

/// Walks strings that a decoder has already found complete.
class string_cursor {
public:
  string_cursor() = default;
  string_cursor(const std::uint8_t* at, std::uint32_t count) : at_{at}, left_{count} {}

  std::uint32_t left() const { return left_; }

  /// The next string; only while left() > 0.
  std::string_view next() {
    auto length = load_le<std::uint32_t>(at_);
    std::string_view text{reinterpret_cast<const char*>(at_ + 4), length};
    at_ += 4 + length;
    --left_;
    return text;
  }

private:
  const std::uint8_t* at_ = nullptr;
  std::uint32_t left_ = 0;
};

/// A decoded spec; everything points into the bytes it was decoded from.
struct exec_spec_view {
  bool has_script = false;
  bool merge_stderr = false;
  bool has_shepherd = false;
  bool appends = false;
  bool outlives_ranks = false;
  bool has_terminal = false;
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
  std::string_view cwd;
  std::string_view stdin_path;  ///< "" = /dev/null, "|" = streamed to rank 0, else a file pattern
  std::string_view stdout_path; ///< "" = /dev/null, "|" = streamed, else a file pattern
  std::string_view stderr_path; ///< as stdout_path
  std::string_view script;
  string_cursor argv; ///< at least one
  string_cursor env;  ///< "K=V", sorted by key
};

namespace spec_detail {

inline std::string_view key_of(std::string_view entry) {
  const auto* found = static_cast<const char*>(std::memchr(entry.data(), '=', entry.size()));
  return {entry.data(), found == nullptr ? 0 : static_cast<std::size_t>(found - entry.data())};
}

inline problem take_string(byte_reader& in, std::size_t bytes_max, std::string_view& out) {
  auto bytes = in.take_prefixed<std::uint32_t>();
  if (in.failed())
    return {"the spec ends inside a string"};
  if (bytes.size() > bytes_max)
    return {"a string of the spec is longer than 128 KiB, or its script longer than 1 MiB"};
  if (has_nul(bytes))
    return {"a string of the spec contains a NUL byte"};
  out = as_text(bytes);
  return {};
}

inline problem take_paths(byte_reader& in, exec_spec_view& out) {
  for (auto* path : {&out.cwd, &out.stdin_path, &out.stdout_path, &out.stderr_path})
    if (auto bad = take_string(in, spec_string_bytes_max, *path))
      return bad;
  if (auto bad = take_string(in, spec_script_bytes_max, out.script))
    return bad;
  if (out.has_script == out.script.empty())
    return {"the spec's script and its flag do not agree"};
  if (out.has_terminal && (out.stdin_path != "|" || out.stdout_path != "|" || !out.merge_stderr))
    return {"the spec asks for a terminal, and its input and output are not streamed as one"};
  return {};
}

inline problem take_argv(byte_reader& in, std::uint32_t argc, exec_spec_view& out) {
  out.argv = string_cursor{in.position(), argc};
  std::string_view text;
  for (std::uint32_t i = 0; i < argc; ++i) {
    if (auto bad = take_string(in, spec_string_bytes_max, text))
      return bad;
    if (i == 0 && text.empty())
      return {"the spec's command name is empty"};
  }
  return {};
}

inline problem take_env(byte_reader& in, std::uint32_t envc, exec_spec_view& out) {
  out.env = string_cursor{in.position(), envc};
  std::string_view text;
  std::string_view last;
  for (std::uint32_t i = 0; i < envc; ++i) {
    if (auto bad = take_string(in, spec_string_bytes_max, text))
      return bad;
    auto key = key_of(text);
    if (key.empty())
      return {"an environment entry of the spec is not of the form NAME=VALUE"};
    if (i > 0 && key <= last)
      return {"the spec's environment is not sorted by name without duplicates"};
    last = key;
  }
  return {};
}

} // namespace spec_detail

/// Accepts exactly the canonical encoding.
inline problem decode_exec_spec(byte_view bytes, exec_spec_view& out) {
  if (bytes.size() > spec_bytes_max)
    return {"the spec is longer than 2 MiB"};
  byte_reader in{bytes};
  auto version = in.take<std::uint8_t>();
  auto flags = in.take<std::uint8_t>();
  auto reserved = in.take<std::uint16_t>();
  auto argc = in.take<std::uint32_t>();
  auto envc = in.take<std::uint32_t>();
  if (in.failed())
    return {"the spec is shorter than its header of 12 bytes"};
  if (version != 1)
    return {"the spec's version is not 1"};
  if (reserved != 0 || (flags & ~(spec_has_script | spec_merges_stderr | spec_has_shepherd |
                                  spec_appends | spec_outlives_ranks | spec_has_terminal)) != 0)
    return {"a reserved field of the spec is not zero"};
  if (argc == 0 || argc > spec_argc_max)
    return {"the spec does not have between 1 and 4,096 arguments"};
  if (envc > spec_envc_max)
    return {"the spec has more than 4,096 environment entries"};
  out.has_script = (flags & spec_has_script) != 0;
  out.merge_stderr = (flags & spec_merges_stderr) != 0;
  out.has_shepherd = (flags & spec_has_shepherd) != 0;
  out.appends = (flags & spec_appends) != 0;
  out.outlives_ranks = (flags & spec_outlives_ranks) != 0;
  out.has_terminal = (flags & spec_has_terminal) != 0;
  out.rows = out.has_terminal ? in.take<std::uint16_t>() : std::uint16_t{0};
  out.columns = out.has_terminal ? in.take<std::uint16_t>() : std::uint16_t{0};
  if (out.has_shepherd && out.has_script)
    return {"the spec's ranks are under a shepherd and are a script: a script starts MPI programs "
            "itself"};
  if (auto bad = spec_detail::take_paths(in, out))
    return bad;
  if (auto bad = spec_detail::take_argv(in, argc, out))
    return bad;
  if (auto bad = spec_detail::take_env(in, envc, out))
    return bad;
  if (!in.at_end())
    return {"the spec has bytes after its last string"};
  return {};
}

/// The digest that requests, warrants and orders carry.
inline digest exec_spec_digest(byte_view bytes) {
  digest out{};
  crypto_generichash_blake2b(out.data(), out.size(), bytes.data(), bytes.size(),
                             reinterpret_cast<const unsigned char*>(domain::spec.data()),
                             domain::spec.size());
  return out;
}

} // namespace troupe::auth
