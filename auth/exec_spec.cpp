// SPDX-License-Identifier: Apache-2.0
#include "auth/exec_spec.hpp"

#include <algorithm>

namespace troupe::auth {

namespace {

class writer {
public:
  void number(std::uint32_t value) {
    std::uint8_t bytes[4];
    store_le(bytes, value);
    out_.insert(out_.end(), bytes, bytes + 4);
  }
  void text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    auto bytes = as_bytes(value);
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::uint8_t> take() { return std::move(out_); }

private:
  std::vector<std::uint8_t> out_;
};

std::vector<std::string_view> sorted_env(const std::vector<std::string>& env) {
  std::vector<std::string_view> entries(env.begin(), env.end());
  auto by_key = [](std::string_view a, std::string_view b) {
    return spec_detail::key_of(a) < spec_detail::key_of(b);
  };
  if (!std::is_sorted(entries.begin(), entries.end(), by_key))
    std::stable_sort(entries.begin(), entries.end(), by_key);
  return entries;
}

std::vector<std::string> strings(string_cursor cursor) {
  std::vector<std::string> out;
  out.reserve(cursor.left());
  while (cursor.left() > 0)
    out.emplace_back(cursor.next());
  return out;
}

} // namespace

expected<std::vector<std::uint8_t>> encode_exec_spec(const exec_spec& spec) {
  std::uint32_t flags = (spec.script.empty() ? 0U : spec_has_script) |
                        (spec.merge_stderr ? std::uint32_t{spec_merges_stderr} : 0U) |
                        (spec.has_shepherd ? std::uint32_t{spec_has_shepherd} : 0U) |
                        (spec.append ? std::uint32_t{spec_appends} : 0U) |
                        (spec.outlives_ranks ? std::uint32_t{spec_outlives_ranks} : 0U) |
                        (spec.has_terminal ? std::uint32_t{spec_has_terminal} : 0U);
  writer out;
  out.number(1U | flags << 8);
  out.number(static_cast<std::uint32_t>(spec.argv.size()));
  out.number(static_cast<std::uint32_t>(spec.env.size()));
  if (spec.has_terminal)
    out.number(spec.rows | std::uint32_t{spec.columns} << 16);
  for (const auto* text :
       {&spec.cwd, &spec.stdin_path, &spec.stdout_path, &spec.stderr_path, &spec.script})
    out.text(*text);
  for (const auto& argument : spec.argv)
    out.text(argument);
  for (auto entry : sorted_env(spec.env))
    out.text(entry);
  auto bytes = out.take();
  exec_spec_view view;
  if (auto bad = decode_exec_spec(bytes, view))
    return fail(errc::invalid, bad.text);
  return bytes;
}

expected<exec_spec> decode_exec_spec(byte_view bytes) {
  exec_spec_view view;
  if (auto bad = decode_exec_spec(bytes, view))
    return fail(errc::invalid, bad.text);
  exec_spec spec;
  spec.merge_stderr = view.merge_stderr;
  spec.has_shepherd = view.has_shepherd;
  spec.append = view.appends;
  spec.outlives_ranks = view.outlives_ranks;
  spec.has_terminal = view.has_terminal;
  spec.rows = view.rows;
  spec.columns = view.columns;
  spec.cwd = view.cwd;
  spec.stdin_path = view.stdin_path;
  spec.stdout_path = view.stdout_path;
  spec.stderr_path = view.stderr_path;
  spec.script = view.script;
  spec.argv = strings(view.argv);
  spec.env = strings(view.env);
  return spec;
}

} // namespace troupe::auth
