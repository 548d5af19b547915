// SPDX-License-Identifier: Apache-2.0
#include "auth/capability.hpp"
#include "base/unique_fd.hpp"
#include "messages/json.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/table.hpp"
#include "tools/troupe/values.hpp"

#include <array>
#include <fcntl.h>
#include <limits>
#include <memory>

namespace troupe::cli {

namespace {

// A chain is a capability and one delegation at most; written in hexadecimal it is twice as long.
constexpr std::size_t chain_text_max = 2 * (auth::capability_size + auth::delegation_size) + 16;

expected<auth::capability> decode_part(byte_view body) {
  auto decoded = auth::decode_body(body);
  if (!decoded)
    return fail(errc::invalid, "this is no capability: " + decoded.error().text);
  return *decoded;
}

/// The fields of a chain, the capability first. Nothing is verified here: keys are with the
/// cluster.
expected<std::vector<auth::capability>> decode_chain(byte_view chain) {
  auto parts = auth::split_chain(chain);
  if (!parts)
    return fail(errc::invalid, "this is no capability: " + parts.error().text);
  std::vector<auth::capability> result;
  auto parent = decode_part(parts->parent.first(auth::capability_layout::body_size));
  if (!parent)
    return tl::unexpected{parent.error()};
  result.push_back(*parent);
  if (!parts->delegation.empty()) {
    auto child = decode_part(parts->delegation.subspan(32, auth::capability_layout::body_size));
    if (!child)
      return tl::unexpected{child.error()};
    result.push_back(*child);
  }
  return result;
}

int print_chain(const invocation& run, byte_view chain, const std::string& more) {
  auto parts = decode_chain(chain);
  if (!parts)
    return report(run, parts.error());
  std::string text = run.json
                         ? "{\"capability\":\"" + auth::to_base64url(chain) + "\",\"description\":"
                         : std::string{};
  std::string described;
  for (std::size_t i = 0; i < parts->size(); ++i) {
    if (i > 0)
      described += "delegated to:\n";
    described += auth::describe((*parts)[i]);
    if (described.back() != '\n')
      described += '\n';
  }
  if (run.json) {
    append_json_string(text, described);
    text += "}\n";
  } else {
    text += described + more;
  }
  return print(text) ? exit_code::done : exit_code::failed;
}

int show(const invocation& run) {
  auto to = session::open();
  if (!to)
    return report(run, to.error());
  auto more = "bytes: " + auth::to_base64url(to->greeting().capability) + "\n";
  return print_chain(run, to->greeting().capability, more);
}

expected<std::string> read_small_file(const std::string& path) {
  unique_fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd)
    return fail(errc::not_found, "cannot read " + path + ": " + varlink::system_message(errno));
  std::array<char, chain_text_max + 1> buffer{};
  auto got = ::read(fd.get(), buffer.data(), buffer.size());
  if (got < 0)
    return fail(errc::storage, "cannot read " + path + ": " + varlink::system_message(errno));
  if (static_cast<std::size_t>(got) > chain_text_max)
    return fail(errc::invalid, path + " is longer than any capability");
  return std::string{buffer.data(), static_cast<std::size_t>(got)};
}

/// The bytes of a capability given as a file, in base64url or in hexadecimal.
expected<std::vector<std::uint8_t>> capability_bytes(const std::string& given) {
  auto text = given;
  if (given.find('/') != std::string::npos || ::access(given.c_str(), F_OK) == 0) {
    auto read = read_small_file(given);
    if (!read)
      return tl::unexpected{read.error()};
    text = std::move(*read);
  }
  if (text.size() == auth::capability_size ||
      text.size() == auth::capability_size + auth::delegation_size)
    return std::vector<std::uint8_t>(text.begin(), text.end());
  while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
    text.pop_back();
  if (auto bytes = auth::from_base64url(text); bytes && auth::split_chain(*bytes))
    return bytes;
  if (auto bytes = auth::from_hex(text))
    return bytes;
  return fail(errc::invalid,
              "this is no capability: neither a file of one nor base64url nor hexadecimal");
}

int inspect(const invocation& run, const std::string& given) {
  auto bytes = capability_bytes(given);
  if (!bytes)
    return report(run, bytes.error());
  return print_chain(run, *bytes, {});
}

int keys(const invocation& run) {
  auto to = session::open();
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::keys{});
  if (!answer)
    return report(run, answer.error());
  if (run.json)
    return print(answer->json + "\n") ? exit_code::done : exit_code::failed;
  table rows{{{"KEY", table::align::right}, {"STATE"}, {"NOT AFTER"}, {"PUBLIC KEY"}}};
  for (const auto& key : answer->value.keys)
    rows.add(
        {std::to_string(key.key_id), key.state, format_time(key.not_after_utc_ns), key.public_key});
  auto text = "keyring " + std::to_string(answer->value.version) + "\n" + rows.text(0);
  return print(text) ? exit_code::done : exit_code::failed;
}

struct revoke_options {
  std::string serial, uid, job;
};

int revoke(const invocation& run, const revoke_options& options) {
  calls::revoke what;
  what.serial = options.serial;
  if (!options.uid.empty()) {
    auto uid = parse_number(options.uid, 0, std::numeric_limits<std::uint32_t>::max() - 1);
    if (!uid)
      return report_usage(run, "--uid: " + uid.error().text);
    what.uid = static_cast<std::uint32_t>(*uid);
  }
  if (!options.job.empty()) {
    auto job = parse_one_job(options.job);
    if (!job || job->element != no_element)
      return report_usage(run, "--job: " + (job ? "give the number of a job" : job.error().text));
    what.job = job->job;
  }
  auto to = session::open();
  if (!to)
    return report(run, to.error());
  auto answer = to->call(what);
  if (!answer)
    return report(run, answer.error());
  const auto text =
      run.json ? answer->json : "revoked; the epoch is " + std::to_string(answer->value.epoch);
  return print(text + "\n") ? exit_code::done : exit_code::failed;
}

void define_revoke(CLI::App& app, invocation& run) {
  auto* revoke_app = app.add_subcommand(
      "revoke", "end what a capability, a user or a job may do; only an admin may");
  auto options = std::make_shared<revoke_options>();
  auto* one = revoke_app->add_option_group("what");
  one->add_option("--serial", options->serial,
                  "one capability, as 'cap show' and the audit name it")
      ->type_name("HEX");
  one->add_option("--uid", options->uid, "everything a user holds, and the orders of its jobs")
      ->type_name("UID");
  one->add_option("--job", options->job, "the job's own: nothing of it is started any more")
      ->type_name("ID");
  one->require_option(1);
  revoke_app->final_callback(
      [&run, options] { run.act = [&run, options] { return revoke(run, *options); }; });
}

} // namespace

void define_cap(CLI::App& app, invocation& run) {
  app.require_subcommand(1);
  app.fallthrough();
  auto* show_app =
      app.add_subcommand("show", "what you may do: the capability the cluster gives you");
  show_app->final_callback([&run] { run.act = [&run] { return show(run); }; });
  auto* inspect_app = app.add_subcommand("inspect", "what a capability says, without verifying it");
  auto given = std::make_shared<std::string>();
  inspect_app->add_option("CAPABILITY", *given, "a file, base64url or hexadecimal")
      ->type_name("")
      ->required();
  inspect_app->final_callback(
      [&run, given] { run.act = [&run, given] { return inspect(run, *given); }; });
  auto* keys_app =
      app.add_subcommand("keys", "the keys that sign capabilities, warrants and orders");
  keys_app->final_callback([&run] { run.act = [&run] { return keys(run); }; });
  define_revoke(app, run);
}

} // namespace troupe::cli
