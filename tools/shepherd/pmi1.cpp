// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/pmi1.hpp"

#include "messages/cbor.hpp"
#include "tools/shepherd/say.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <sys/socket.h>

namespace troupe::shepherd {

namespace {

constexpr std::size_t line_bytes_max = 1u << 16;
constexpr std::size_t key_bytes = 64;
constexpr std::size_t value_bytes = 1024;
constexpr std::size_t name_bytes = 256;
constexpr std::size_t key_values_bytes_max = 256u << 20;
constexpr std::uint32_t preput_wait_s = 20;
constexpr std::uint32_t spawn_words_max = 4096;

struct key_value {
  std::string key;
  std::string value;
  static constexpr auto fields() {
    return field_list(field<1>("key", &key_value::key, at_most(key_bytes)),
                      field<2>("value", &key_value::value, at_most(value_bytes)));
  }
};

/// What one node's ranks put since the last barrier.
struct key_values {
  std::vector<key_value> pairs;
  static constexpr auto fields() { return field_list(field<1>("pairs", &key_values::pairs)); }
};

/// "cmd=put key=a value=b" as words. A value reaches to the next blank; values carry none.
std::map<std::string, std::string> words_of(const std::string& line) {
  std::map<std::string, std::string> words;
  for (std::size_t at = 0; at < line.size();) {
    const auto end = std::min(line.find(' ', at), line.size());
    const auto equals = line.find('=', at);
    if (equals < end)
      words[line.substr(at, equals - at)] = line.substr(equals + 1, end - equals - 1);
    at = end + 1;
  }
  return words;
}

std::string word(const std::map<std::string, std::string>& words, const std::string& key) {
  const auto at = words.find(key);
  return at == words.end() ? std::string{} : at->second;
}

std::uint32_t number(const std::map<std::string, std::string>& words, const std::string& key) {
  const auto text = word(words, key);
  std::uint32_t value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// Of a rank that aborts: MPICH says -1 where MPI_Abort(…, -1) was called. What is no number at all
/// is a failure, too.
std::int32_t exit_code(const std::map<std::string, std::string>& words) {
  const auto text = word(words, "exitcode");
  std::int64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc{} ? static_cast<std::int32_t>(value) : -1;
}

/// Under what name a spawning job leaves a value for the job it spawned.
std::string preput_name(const std::string& nspace, const std::string& key) {
  return "pmi1:" + nspace + ":" + key;
}

} // namespace

void pmi1_server::add(std::uint32_t step, std::uint32_t rank, unique_fd socket) {
  auto entry = std::make_unique<client>();
  const auto id = next_id_++;
  entry->id = id;
  entry->step = step;
  entry->rank = rank;
  entry->socket = std::move(socket);
  if (!poll_.add(entry->socket.get(), [this, id](std::uint32_t events) { on_ready(id, events); }))
    return say("rank %u of step %u cannot be watched: %s", rank, step, std::strerror(errno));
  clients_.emplace(id, std::move(entry));
}

pmi1_server::client* pmi1_server::find(std::uint64_t id) {
  const auto at = clients_.find(id);
  return at == clients_.end() ? nullptr : at->second.get();
}

void pmi1_server::drop(std::uint64_t id) {
  if (auto* each = find(id)) {
    poll_.remove(each->socket.get());
    clients_.erase(id);
  }
}

void pmi1_server::remove_step(std::uint32_t step) {
  std::vector<std::uint64_t> gone;
  for (const auto& [id, each] : clients_)
    if (each->step == step)
      gone.push_back(id);
  for (const auto id : gone)
    drop(id);
  fresh_.erase(step);
}

void pmi1_server::on_ready(std::uint64_t id, std::uint32_t events) {
  if (auto* each = find(id); each != nullptr && (events & EPOLLOUT) != 0)
    write_some(*each);
  auto* from = find(id);
  if (from == nullptr || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0)
    return;
  char bytes[16 * 1024];
  const auto got = ::recv(from->socket.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (got <= 0 || from->input.size() + static_cast<std::size_t>(got) > line_bytes_max)
    return drop(id); // how it ended is the launcher's to say
  from->input.append(bytes, static_cast<std::size_t>(got));
  for (std::size_t end = 0; (end = from->input.find('\n')) != std::string::npos;) {
    const auto line = from->input.substr(0, end);
    from->input.erase(0, end + 1);
    take_line(*from, line);
    if (from = find(id); from == nullptr)
      return;
  }
}

/// A spawn comes as many lines, each one word, between mcmd=spawn and endcmd.
void pmi1_server::take_line(client& from, const std::string& line) {
  if (line.starts_with("mcmd=")) {
    from.multi_line.emplace();
  } else if (!from.multi_line) {
    return handle(from, words_of(line));
  }
  if (line == "endcmd") {
    const auto command = *std::exchange(from.multi_line, std::nullopt);
    return spawn(from, command);
  }
  const auto equals = line.find('=');
  if (equals != std::string::npos && from.multi_line->size() < spawn_words_max)
    (*from.multi_line)[line.substr(0, equals)] = line.substr(equals + 1);
}

void pmi1_server::handle(client& from, const words& command) {
  auto* step = host_.find_step(from.step);
  if (step == nullptr)
    return drop(from.id);
  const auto id = from.id;
  const auto name = word(command, "cmd");
  const auto who = step->name_of(from.rank);
  if (name == "init") {
    host_.note(who, &local_rank::connected);
    reply(id, "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1");
  } else if (name == "get_maxes") {
    reply(id, "cmd=maxes kvsname_max=" + std::to_string(name_bytes) + " keylen_max=" +
                  std::to_string(key_bytes) + " vallen_max=" + std::to_string(value_bytes));
  } else if (name == "get_appnum") {
    std::uint32_t app = 0;
    for (std::uint32_t i = 0; i < step->about.apps.size(); ++i)
      if (from.rank - step->about.apps[i].rank_first < step->about.apps[i].rank_count)
        app = i;
    reply(id, "cmd=appnum appnum=" + std::to_string(app));
  } else if (name == "get_my_kvsname") {
    reply(id, "cmd=my_kvsname kvsname=" + step->about.nspace);
  } else if (name == "get_universe_size") {
    const auto size = std::max(step->about.universe_size, step->about.ranks_total);
    reply(id, "cmd=universe_size size=" + std::to_string(size));
  } else if (name == "put") {
    put(from, command);
  } else if (name == "get") {
    get(from, command);
  } else if (name == "barrier_in") {
    enter_barrier(from);
  } else if (name == "finalize") {
    host_.note(who, &local_rank::finalised);
    reply(id, "cmd=finalize_ack");
  } else if (name == "abort") {
    host_.abort(who, exit_code(command), "");
  } else {
    handle_names(from, command);
  }
}

void pmi1_server::handle_names(client& from, const words& command) {
  const auto who = host_.find_step(from.step)->name_of(from.rank);
  const auto name = word(command, "cmd");
  const auto service = "pmi1:service:" + word(command, "service");
  const auto id = from.id;
  if (name == "publish_name")
    return host_.publish(who, service, word(command, "port"), false, [this, id](bool good) {
      reply(id, good ? "cmd=publish_result rc=0 msg=success"
                     : "cmd=publish_result rc=1 msg=it_is_published_already");
    });
  if (name == "unpublish_name")
    return host_.unpublish(
        who, service, [this, id](bool) { reply(id, "cmd=unpublish_result rc=0 msg=success"); });
  if (name == "lookup_name")
    return host_.lookup(who, service, 0, [this, id](bool found, const std::string& port) {
      reply(id, found ? "cmd=lookup_result rc=0 msg=success port=" + port
                      : "cmd=lookup_result rc=1 msg=nobody_has_published_it");
    });
  say("rank %u of step %u says '%s', which PMI-1 does not know here: it is let go", from.rank,
      from.step, name.c_str());
  drop(id);
}

void pmi1_server::put(client& from, const words& command) {
  auto& step = *host_.find_step(from.step);
  const auto key = word(command, "key");
  const auto value = word(command, "value");
  const auto bytes = key.size() + value.size();
  const bool fits = !key.empty() && key.size() <= key_bytes && value.size() <= value_bytes &&
                    step.key_value_bytes + bytes <= key_values_bytes_max;
  if (!fits)
    return reply(from.id, "cmd=put_result rc=-1 msg=key_or_value_too_long");
  if (!step.key_values.emplace(key, value).second)
    return reply(from.id, "cmd=put_result rc=-1 msg=duplicate_key_" + key);
  step.key_value_bytes += bytes;
  fresh_[from.step][key] = value;
  reply(from.id, "cmd=put_result rc=0 msg=success");
}

void pmi1_server::get(client& from, const words& command) {
  const auto& step = *host_.find_step(from.step);
  const auto key = word(command, "key");
  if (key == "PMI_process_mapping")
    return reply(from.id, "cmd=get_result rc=0 msg=success value=" + process_mapping(step));
  const auto answer = [this, id = from.id, key](bool found, const std::string& value) {
    reply(id, found ? "cmd=get_result rc=0 msg=success value=" + value
                    : "cmd=get_result rc=-1 msg=key_" + key + "_not_found value=unknown");
  };
  const auto at = step.key_values.find(key);
  if (at != step.key_values.end())
    return answer(true, at->second);
  if (!step.about.parent)
    return answer(false, {});
  // Who spawned this step may have left the value for it, and may still be about to.
  host_.lookup(step.name_of(from.rank), preput_name(step.about.nspace, key), preput_wait_s, answer);
}

/// When all ranks of this node are in, the node is: what they put travels with it.
void pmi1_server::enter_barrier(client& from) {
  from.in_barrier = true;
  const auto number = from.step;
  auto& step = *host_.find_step(number);
  std::size_t inside = 0;
  for (const auto& [id, each] : clients_)
    inside += each->step == number && each->in_barrier ? 1 : 0;
  if (inside < step.ranks.size())
    return;
  key_values mine;
  for (auto& [key, value] : std::exchange(fresh_[number], {}))
    mine.pairs.push_back({key, value});
  host_.barrier(step, to_cbor(mine), [this, number](bool good, const auto& pairs) {
    leave_barrier(number, good, pairs);
  });
}

void pmi1_server::leave_barrier(std::uint32_t number, bool good,
                                const std::vector<std::vector<std::uint8_t>>& pairs) {
  auto* step = host_.find_step(number);
  for (const auto& packed : pairs)
    if (auto theirs = from_cbor<key_values>(packed); theirs && step != nullptr)
      for (auto& each : theirs->pairs)
        step->key_values.emplace(std::move(each.key), std::move(each.value));
  std::vector<std::uint64_t> inside;
  for (auto& [id, each] : clients_)
    if (each->step == number && std::exchange(each->in_barrier, false))
      inside.push_back(id);
  for (const auto id : inside)
    if (good)
      reply(id, "cmd=barrier_out");
    else
      drop(id); // it ends as it would with a process manager that is gone
}

void pmi1_server::spawn(client& from, const words& command) {
  from.spawn_parts.push_back(command);
  if (from.spawn_parts.size() < number(command, "totspawns"))
    return;
  const auto parts = std::exchange(from.spawn_parts, {});
  spawn_request request;
  request.parent = host_.find_step(from.step)->name_of(from.rank);
  request.mpi = mpi_kind::pmi1;
  for (const auto& part : parts) {
    spawn_app app;
    app.argv.push_back(word(part, "execname"));
    const auto arguments = std::min(number(part, "argcnt"), spawn_words_max);
    for (std::uint32_t i = 1; i <= arguments; ++i)
      app.argv.push_back(word(part, "arg" + std::to_string(i)));
    app.ranks = number(part, "nprocs");
    for (std::uint32_t i = 0; i < std::min(number(part, "info_num"), spawn_words_max); ++i)
      app.options[word(part, "info_key_" + std::to_string(i))] =
          word(part, "info_val_" + std::to_string(i));
    app.cwd = word(app.options, "wdir");
    request.apps.push_back(std::move(app));
  }
  host_.spawn(std::move(request),
              [this, id = from.id, parts](const std::string& nspace, const std::string& error) {
                spawned(id, parts, nspace, error);
              });
}

/// The spawned job waits for what its parent puts into its key values beforehand.
void pmi1_server::spawned(std::uint64_t id, const std::vector<words>& parts,
                          const std::string& nspace, const std::string& error) {
  auto* from = find(id);
  if (from == nullptr)
    return;
  if (!error.empty()) {
    say("a spawn was refused: %s", error.c_str());
    return reply(id, "cmd=spawn_result rc=-1 msg=refused");
  }
  const auto who = host_.find_step(from->step)->name_of(from->rank);
  const auto& first = parts.front();
  for (std::uint32_t i = 0; i < std::min(number(first, "preput_num"), spawn_words_max); ++i)
    host_.publish(who, preput_name(nspace, word(first, "preput_key_" + std::to_string(i))),
                  word(first, "preput_val_" + std::to_string(i)), true, [](bool) {});
  std::string codes;
  for (const auto& part : parts)
    for (std::uint32_t i = 0; i < std::min(number(part, "nprocs"), spawn_words_max); ++i)
      codes += codes.empty() ? "0" : ",0";
  reply(id, "cmd=spawn_result rc=0 errcodes=" + codes);
}

void pmi1_server::reply(std::uint64_t id, const std::string& line) {
  if (auto* to = find(id)) {
    to->output += line + "\n";
    write_some(*to);
  }
}

void pmi1_server::write_some(client& to) {
  while (!to.output.empty()) {
    const auto done =
        ::send(to.socket.get(), to.output.data(), to.output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      break;
    to.output.erase(0, static_cast<std::size_t>(done));
  }
  poll_.change(to.socket.get(), to.output.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

} // namespace troupe::shepherd
