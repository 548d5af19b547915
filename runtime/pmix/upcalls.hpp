// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/pmix/handles.hpp"

#include "base/unique_fd.hpp"

#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>

// What the library asks of its host, as values. The library calls on its own thread: the request is
// copied into a queue there, and whoever owns the server takes it in its loop. Each answer may be
// given once, later, from any thread; one that is dropped tells the client that it failed, so that
// no client waits for ever.

namespace troupe::pmix {

class op_answer {
public:
  op_answer() = default;
  op_answer(pmix_op_cbfunc_t function, void* data) : function_{function}, data_{data} {}
  op_answer(op_answer&& other) noexcept
      : function_{std::exchange(other.function_, nullptr)}, data_{other.data_} {}
  op_answer& operator=(op_answer&& other) noexcept {
    std::swap(function_, other.function_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~op_answer() { (*this)(PMIX_ERROR); }
  void operator()(pmix_status_t status) {
    if (auto function = std::exchange(function_, nullptr))
      function(status, data_);
  }

private:
  pmix_op_cbfunc_t function_ = nullptr;
  void* data_ = nullptr;
};

/// Answers a fence or a direct modex.
class modex_answer {
public:
  modex_answer() = default;
  modex_answer(pmix_modex_cbfunc_t function, void* data) : function_{function}, data_{data} {}
  modex_answer(modex_answer&& other) noexcept
      : function_{std::exchange(other.function_, nullptr)}, data_{other.data_} {}
  modex_answer& operator=(modex_answer&& other) noexcept {
    std::swap(function_, other.function_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~modex_answer() { (*this)(PMIX_ERROR, {}); }
  void operator()(pmix_status_t status, byte_vector data);

private:
  pmix_modex_cbfunc_t function_ = nullptr;
  void* data_ = nullptr;
};

/// A value under a key, with who published it; the value as the library packs it.
struct published_value {
  process owner;
  std::string key;
  byte_vector value;
};

class lookup_answer {
public:
  lookup_answer() = default;
  lookup_answer(pmix_lookup_cbfunc_t function, void* data) : function_{function}, data_{data} {}
  lookup_answer(lookup_answer&& other) noexcept
      : function_{std::exchange(other.function_, nullptr)}, data_{other.data_} {}
  lookup_answer& operator=(lookup_answer&& other) noexcept {
    std::swap(function_, other.function_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~lookup_answer() { (*this)(PMIX_ERROR, {}); }
  void operator()(pmix_status_t status, std::vector<published_value> values);

private:
  pmix_lookup_cbfunc_t function_ = nullptr;
  void* data_ = nullptr;
};

class spawn_answer {
public:
  spawn_answer() = default;
  spawn_answer(pmix_spawn_cbfunc_t function, void* data) : function_{function}, data_{data} {}
  spawn_answer(spawn_answer&& other) noexcept
      : function_{std::exchange(other.function_, nullptr)}, data_{other.data_} {}
  spawn_answer& operator=(spawn_answer&& other) noexcept {
    std::swap(function_, other.function_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~spawn_answer() { (*this)(PMIX_ERROR, {}); }
  void operator()(pmix_status_t status, const std::string& nspace);

private:
  pmix_spawn_cbfunc_t function_ = nullptr;
  void* data_ = nullptr;
};

/// Answers a query, a job control request or a group operation.
class info_answer {
public:
  info_answer() = default;
  info_answer(pmix_info_cbfunc_t function, void* data) : function_{function}, data_{data} {}
  info_answer(info_answer&& other) noexcept
      : function_{std::exchange(other.function_, nullptr)}, data_{other.data_} {}
  info_answer& operator=(info_answer&& other) noexcept {
    std::swap(function_, other.function_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~info_answer() { (*this)(PMIX_ERROR, {}); }
  void operator()(pmix_status_t status, info_list infos);

private:
  pmix_info_cbfunc_t function_ = nullptr;
  void* data_ = nullptr;
};

// --- the requests --------------------------------------------------------------------------------

struct client_connected {
  process who;
};
struct client_finalized {
  process who;
  op_answer answer;
};
struct abort_request {
  process who;
  int status = 0;
  std::string message;
  op_answer answer;
};
/// All local participants have come; `data` is theirs.
struct fence {
  std::vector<process> participants;
  byte_vector data;
  std::uint32_t timeout_s = 0; ///< 0: none; the host is to keep it
  modex_answer answer;
};
/// A local rank wants what a rank of another node has put.
struct modex_request {
  process whose;
  modex_answer answer;
};
struct publish {
  process owner;
  std::vector<published_value> values;
  std::uint32_t range = PMIX_RANGE_SESSION;
  std::uint32_t persistence = PMIX_PERSIST_APP;
  op_answer answer;
};
struct lookup {
  process who;
  std::vector<std::string> keys;
  std::uint32_t range = PMIX_RANGE_SESSION;
  bool waits = false; ///< for all of the keys
  std::uint32_t timeout_s = 0;
  lookup_answer answer;
};
/// No keys: all that `owner` published.
struct unpublish {
  process owner;
  std::vector<std::string> keys;
  std::uint32_t range = PMIX_RANGE_SESSION;
  op_answer answer;
};
struct spawn {
  process who;
  std::vector<shepherd::spawn_app> apps;
  std::map<std::string, std::string> options;
  spawn_answer answer;
};
/// Connect or disconnect.
struct connection {
  bool connects = true;
  std::vector<process> participants;
  std::uint32_t timeout_s = 0; ///< 0: none; the library keeps it as well
  op_answer answer;
};
struct event {
  pmix_status_t code = 0;
  process source;
  std::uint32_t range = PMIX_RANGE_SESSION;
  byte_vector infos; ///< packed
};
struct log_entry {
  shepherd::log_channel channel = shepherd::log_channel::job;
  std::string text;
};
struct log_request {
  process who;
  std::vector<log_entry> entries;
  op_answer answer;
};
struct query {
  std::vector<std::string> keys;
  std::optional<std::string> nspace; ///< about another step
};
struct query_request {
  process who;
  std::vector<query> queries;
  info_answer answer;
};
/// Signal 0: the directives ask for nothing that is known here.
struct control_request {
  process who;
  std::vector<process> targets;
  std::uint32_t signal = 0;
  info_answer answer;
};
struct group_request {
  bool constructs = true;
  std::string name;
  std::vector<process> participants;
  bool wants_context = false;
  info_answer answer;
};
/// The library's answer to `server::request_modex`.
struct modex_data {
  std::uint64_t token = 0;
  pmix_status_t status = 0;
  byte_vector data;
};
/// The library has taken note of what `server` was told under this token.
struct taken_note {
  std::uint64_t token = 0;
  pmix_status_t status = 0;
};

using upcall = std::variant<client_connected, client_finalized, abort_request, fence, modex_request,
                            publish, lookup, unpublish, spawn, connection, event, log_request,
                            query_request, control_request, group_request, modex_data, taken_note>;

/// Requests on their way from the library's thread to the loop; `fd` is readable when there are.
class upcall_queue {
public:
  upcall_queue();
  /// From any thread.
  void post(upcall call);
  /// Everything there is; makes `fd` unreadable.
  std::vector<upcall> take();
  int fd() const { return event_.get(); }

private:
  std::mutex mutex_;
  std::vector<upcall> calls_;
  unique_fd event_;
};

/// The module to give to the library; its functions post to `queue`, which must outlive it.
pmix_server_module_t make_module(upcall_queue& queue);

} // namespace troupe::pmix
