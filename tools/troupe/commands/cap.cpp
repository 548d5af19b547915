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
constexpr std::size_t chain_text_max = 2 * (auth::capability_size + auth::delegation_size) + 80;

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
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto more = "bytes: " + auth::to_base64url(to->chain()) + "\n";
  return print_chain(run, to->chain(), more);
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
  const byte_view raw{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  if (const auto chain = auth::chain_of_held(raw))
    return std::vector<std::uint8_t>(chain->begin(), chain->end());
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
  auto to = session::open(run.capability);
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

struct attenuation {
  std::string file;
  std::vector<std::string> verbs;
  std::string jobs;
  std::string life;
};

expected<auth::verb_set> verbs_named(const std::vector<std::string>& names) {
  std::uint64_t bits = 0;
  for (const auto& name : names) {
    auto which = auth::parse_verb(name);
    if (!which)
      return fail(errc::invalid, "--verb: '" + name.substr(0, 80) +
                                     "' is none; 'troupe cap show' lists those that you have");
    bits |= static_cast<std::uint64_t>(*which);
  }
  return auth::verb_set{bits};
}

expected<auth::resource> jobs_named(const std::string& text) {
  auto targets = parse_job_ids(text);
  if (!targets)
    return fail(errc::invalid, "--jobs: " + targets.error().text);
  if (targets->size() != 1 || targets->front().elements)
    return fail(errc::invalid, "--jobs: give one job or one range of them, such as 812-900");
  return auth::resource{auth::resource_kind::jobs, targets->front().first, targets->front().last};
}

/// What the new capability may do: nothing that is not asked for, and nothing that the parent may
/// not.
expected<auth::capability> narrowed(auth::capability from, const attenuation& how, utc_ns now) {
  auto verbs = verbs_named(how.verbs);
  if (!verbs)
    return tl::unexpected{verbs.error()};
  from.verbs = *verbs;
  from.serial = auth::random_bytes<16>();
  from.depth_left = 0;
  if (!how.jobs.empty()) {
    auto jobs = jobs_named(how.jobs);
    if (!jobs)
      return tl::unexpected{jobs.error()};
    from.on = *jobs;
  }
  if (!how.life.empty()) {
    auto life = parse_duration_s(how.life);
    if (!life)
      return fail(errc::invalid, "--life: " + life.error().text);
    from.expires = now + std::int64_t{*life} * ns_per_s;
  }
  return from;
}

int attenuate(const invocation& run, const attenuation& how) {
  // What is wrong with the words shows before anything is asked of the cluster.
  if (auto fine = narrowed({}, how, 0); !fine)
    return report_usage(run, fine.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto own = decode_chain(to->chain());
  if (!own)
    return report(run, own.error());
  auto child = narrowed(own->back(), how, to->utc());
  auto made = child ? to->delegate(*child) : tl::unexpected{child.error()};
  if (!made)
    return report(run, made.error());
  if (auto stored = auth::store_held_capability(how.file, *made); !stored)
    return report(run, stored.error());
  return print_chain(run, made->chain, {});
}

void define_attenuate(CLI::App& app, invocation& run) {
  auto* attenuate_app = app.add_subcommand(
      "attenuate", "write a narrower capability with a key of its own, for another program; "
                   "--capability uses it");
  auto how = std::make_shared<attenuation>();
  attenuate_app->add_option("FILE", how->file, "a new file, which nobody else may read")
      ->type_name("")
      ->required();
  attenuate_app
      ->add_option("--verb", how->verbs,
                   "what it may do, as 'cap show' names it; may be repeated, or a,b,c")
      ->type_name("VERB")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->required();
  attenuate_app->add_option("--jobs", how->jobs, "only on these: 812 or 812-900")->type_name("ID");
  attenuate_app
      ->add_option("--life", how->life,
                   "for so long, such as 10m; at most, and by default, as long as your own")
      ->type_name("TIME");
  attenuate_app->final_callback(
      [&run, how] { run.act = [&run, how] { return attenuate(run, *how); }; });
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
  auto to = session::open(run.capability);
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
  define_attenuate(app, run);
  define_revoke(app, run);
}

} // namespace troupe::cli
