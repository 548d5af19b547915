// SPDX-License-Identifier: Apache-2.0
#include "runtime/pmix/upcalls.hpp"

#include "runtime/pmix/convert.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <new>
#include <sys/eventfd.h>

namespace troupe::pmix {

// --- answers -------------------------------------------------------------------------------------

void modex_answer::operator()(pmix_status_t status, byte_vector data) {
  auto function = std::exchange(function_, nullptr);
  if (function == nullptr)
    return;
  if (data.empty())
    return function(status, nullptr, 0, data_, nullptr, nullptr);
  auto* held = new byte_vector{std::move(data)};
  function(
      status, reinterpret_cast<const char*>(held->data()), held->size(), data_,
      [](void* owned) { delete static_cast<byte_vector*>(owned); }, held);
}

namespace {

/// Runs `act` on the library's thread. Its answers to lookups, queries and job control (4.2) append
/// to the client's send queue on whatever thread they are called on, while its own thread sends. A
/// deregistration of nobody is done there, changes nothing, and calls back.
template <class Act>
void on_library_thread(Act act) {
  pmix_proc_t nobody;
  PMIX_LOAD_PROCID(&nobody, "troupe-nobody", 0);
  PMIx_server_deregister_client(
      &nobody,
      [](pmix_status_t, void* data) {
        const std::unique_ptr<Act> owned{static_cast<Act*>(data)};
        (*owned)();
      },
      new Act{std::move(act)});
}

void answer_lookup(pmix_lookup_cbfunc_t function, void* data, pmix_status_t status,
                   const std::vector<published_value>& values) {
  std::vector<pmix_pdata_t> found(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    PMIX_PDATA_CONSTRUCT(&found[i]);
    const c_process owner{values[i].owner};
    found[i].proc = *owner.get();
    PMIX_LOAD_KEY(found[i].key, values[i].key.c_str());
    found[i].value = unpack_value(values[i].value);
  }
  function(status, found.data(), found.size(), data); // packs its reply before it returns
  for (auto& each : found)
    PMIX_PDATA_DESTRUCT(&each);
}

} // namespace

void lookup_answer::operator()(pmix_status_t status, std::vector<published_value> values) {
  if (auto function = std::exchange(function_, nullptr))
    on_library_thread([function, data = data_, status, values = std::move(values)] {
      answer_lookup(function, data, status, values);
    });
}

void spawn_answer::operator()(pmix_status_t status, const std::string& nspace) {
  if (auto function = std::exchange(function_, nullptr)) {
    const c_process name{{nspace, 0}};
    auto copy = *name.get();
    function(status, copy.nspace, data_);
  }
}

void info_answer::operator()(pmix_status_t status, info_list infos) {
  auto function = std::exchange(function_, nullptr);
  if (function == nullptr)
    return;
  auto* held = new info_list{std::move(infos)};
  on_library_thread([function, data = data_, status, held] {
    function(
        status, held->data(), held->size(), data,
        [](void* owned) { delete static_cast<info_list*>(owned); }, held);
  });
}

// --- the queue -----------------------------------------------------------------------------------

upcall_queue::upcall_queue() : event_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {}

void upcall_queue::post(upcall call) {
  bool was_empty = false;
  {
    const std::lock_guard lock{mutex_};
    was_empty = calls_.empty();
    calls_.push_back(std::move(call));
  }
  const std::uint64_t one = 1;
  if (was_empty)
    (void)!::write(event_.get(), &one, sizeof one);
}

std::vector<upcall> upcall_queue::take() {
  std::uint64_t count = 0;
  (void)!::read(event_.get(), &count, sizeof count);
  const std::lock_guard lock{mutex_};
  return std::exchange(calls_, {});
}

// --- the module ----------------------------------------------------------------------------------

namespace {

// The library's functions have no word of ours in their arguments, and there is one server per
// process: this is the one global of this folder.
upcall_queue* target = nullptr;

template <class Call>
pmix_status_t post(Call call) {
  target->post(std::move(call));
  return PMIX_SUCCESS;
}

pmix_status_t on_finalized(const pmix_proc_t* who, void*, pmix_op_cbfunc_t done, void* data) {
  return post(client_finalized{to_process(*who), {done, data}});
}

pmix_status_t on_abort(const pmix_proc_t* who, void*, int status, const char message[],
                       pmix_proc_t*, std::size_t, pmix_op_cbfunc_t done, void* data) {
  return post(
      abort_request{to_process(*who), status, message == nullptr ? "" : message, {done, data}});
}

std::uint32_t timeout_of(info_view infos) {
  const auto seconds = find_number(infos, PMIX_TIMEOUT, 0);
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds, 0, 1'000'000));
}

pmix_status_t on_fence(const pmix_proc_t participants[], std::size_t count,
                       const pmix_info_t infos[], std::size_t info_count, char* data,
                       std::size_t bytes, pmix_modex_cbfunc_t done, void* context) {
  const auto* from = reinterpret_cast<const std::uint8_t*>(data);
  auto status = post(fence{to_processes(participants, count),
                           from == nullptr ? byte_vector{} : byte_vector{from, from + bytes},
                           timeout_of({infos, info_count}),
                           {done, context}});
  std::free(data); // the host's from the call on
  return status;
}

pmix_status_t on_modex(const pmix_proc_t* whose, const pmix_info_t[], std::size_t,
                       pmix_modex_cbfunc_t done, void* data) {
  return post(modex_request{to_process(*whose), {done, data}});
}

pmix_status_t on_publish(const pmix_proc_t* owner, const pmix_info_t infos[], std::size_t count,
                         pmix_op_cbfunc_t done, void* data) {
  publish call{to_process(*owner), {}, PMIX_RANGE_SESSION, PMIX_PERSIST_APP, {done, data}};
  for (const auto& info : info_view{infos, count}) {
    if (has_key(info, PMIX_RANGE))
      call.range = static_cast<std::uint32_t>(number_of(info, call.range));
    else if (has_key(info, PMIX_PERSISTENCE))
      call.persistence = static_cast<std::uint32_t>(number_of(info, call.persistence));
    else if (std::strncmp(info.key, "pmix.", 5) != 0)
      call.values.push_back({call.owner, info.key, pack_value(info.value)});
  }
  return post(std::move(call));
}

pmix_status_t on_lookup(const pmix_proc_t* who, char** keys, const pmix_info_t infos[],
                        std::size_t count, pmix_lookup_cbfunc_t done, void* data) {
  const info_view view{infos, count};
  lookup call{to_process(*who), to_texts(keys), PMIX_RANGE_SESSION, false, 0, {done, data}};
  for (const auto& info : view)
    if (has_key(info, PMIX_WAIT))
      call.waits = info.value.type == PMIX_BOOL ? is_true(info) : true;
  call.range = static_cast<std::uint32_t>(find_number(view, PMIX_RANGE, call.range));
  call.timeout_s = timeout_of(view);
  return post(std::move(call));
}

pmix_status_t on_unpublish(const pmix_proc_t* owner, char** keys, const pmix_info_t infos[],
                           std::size_t count, pmix_op_cbfunc_t done, void* data) {
  const auto range = find_number({infos, count}, PMIX_RANGE, PMIX_RANGE_SESSION);
  return post(unpublish{
      to_process(*owner), to_texts(keys), static_cast<std::uint32_t>(range), {done, data}});
}

shepherd::spawn_app to_app(const pmix_app_t& from) {
  shepherd::spawn_app app;
  app.argv = to_texts(from.argv);
  if (from.cmd != nullptr) {
    if (app.argv.empty())
      app.argv.emplace_back();
    app.argv[0] = from.cmd;
  }
  app.env = to_texts(from.env);
  app.cwd = from.cwd == nullptr ? "" : from.cwd;
  app.ranks = from.maxprocs > 0 ? static_cast<std::uint32_t>(from.maxprocs) : 1;
  app.options = texts_of({from.info, from.ninfo});
  return app;
}

pmix_status_t on_spawn(const pmix_proc_t* who, const pmix_info_t infos[], std::size_t count,
                       const pmix_app_t apps[], std::size_t app_count, pmix_spawn_cbfunc_t done,
                       void* data) {
  spawn call{to_process(*who), {}, texts_of({infos, count}), {done, data}};
  for (std::size_t i = 0; i < app_count; ++i)
    call.apps.push_back(to_app(apps[i]));
  return post(std::move(call));
}

pmix_status_t on_connect(const pmix_proc_t participants[], std::size_t count,
                         const pmix_info_t infos[], std::size_t info_count, pmix_op_cbfunc_t done,
                         void* data) {
  return post(connection{
      true, to_processes(participants, count), timeout_of({infos, info_count}), {done, data}});
}

pmix_status_t on_disconnect(const pmix_proc_t participants[], std::size_t count,
                            const pmix_info_t infos[], std::size_t info_count,
                            pmix_op_cbfunc_t done, void* data) {
  return post(connection{
      false, to_processes(participants, count), timeout_of({infos, info_count}), {done, data}});
}

pmix_status_t on_register_events(pmix_status_t*, std::size_t, const pmix_info_t[], std::size_t,
                                 pmix_op_cbfunc_t, void*) {
  return PMIX_OPERATION_SUCCEEDED; // every event comes here anyway
}

pmix_status_t on_deregister_events(pmix_status_t*, std::size_t, pmix_op_cbfunc_t, void*) {
  return PMIX_OPERATION_SUCCEEDED;
}

/// Answered at once: a later answer wedges the library (4.2).
pmix_status_t on_event(pmix_status_t code, const pmix_proc_t* source, pmix_data_range_t range,
                       pmix_info_t infos[], std::size_t count, pmix_op_cbfunc_t, void*) {
  target->post(event{code, source == nullptr ? process{} : to_process(*source), range,
                     pack_infos({infos, count})});
  return PMIX_OPERATION_SUCCEEDED;
}

shepherd::log_channel channel_of(const pmix_info_t& info) {
  if (has_key(info, PMIX_LOG_STDOUT))
    return shepherd::log_channel::standard_output;
  return has_key(info, PMIX_LOG_STDERR) ? shepherd::log_channel::standard_error
                                        : shepherd::log_channel::job;
}

void post_log(const pmix_proc_t* who, const pmix_info_t data[], std::size_t count,
              pmix_op_cbfunc_t done, void* context) {
  log_request call{to_process(*who), {}, {done, context}};
  for (const auto& info : info_view{data, count})
    if (auto text = text_of(info.value); !text.empty())
      call.entries.push_back({channel_of(info), std::move(text)});
  target->post(std::move(call));
}

#ifdef TROUPE_PMIX_HAS_LOG2
pmix_status_t on_log2(const pmix_proc_t* who, const pmix_info_t data[], std::size_t count,
                      const pmix_info_t[], std::size_t, pmix_op_cbfunc_t done, void* context) {
  post_log(who, data, count, done, context);
  return PMIX_SUCCESS;
}
#else
void on_log(const pmix_proc_t* who, const pmix_info_t data[], std::size_t count,
            const pmix_info_t[], std::size_t, pmix_op_cbfunc_t done, void* context) {
  try {
    post_log(who, data, count, done, context);
  } catch (const std::bad_alloc&) {
    done(PMIX_ERR_NOMEM, context);
  }
}
#endif

pmix_status_t on_query(pmix_proc_t* who, pmix_query_t* queries, std::size_t count,
                       pmix_info_cbfunc_t done, void* data) {
  query_request call{to_process(*who), {}, {done, data}};
  for (std::size_t i = 0; i < count; ++i) {
    query each{to_texts(queries[i].keys), std::nullopt};
    for (const auto& info : info_view{queries[i].qualifiers, queries[i].nqual})
      if (has_key(info, PMIX_NSPACE) && info.value.type == PMIX_STRING)
        each.nspace = text_of(info.value);
      else if (has_key(info, PMIX_PROCID) && info.value.type == PMIX_PROC)
        each.nspace = to_process(*info.value.data.proc).nspace;
    call.queries.push_back(std::move(each));
  }
  return post(std::move(call));
}

std::uint32_t signal_of(info_view directives) {
  for (const auto& info : directives) {
    if (has_key(info, PMIX_JOB_CTRL_KILL) && is_true(info))
      return SIGKILL;
    if (has_key(info, PMIX_JOB_CTRL_TERMINATE) && is_true(info))
      return SIGTERM;
    if (has_key(info, PMIX_JOB_CTRL_PAUSE) && is_true(info))
      return SIGSTOP;
    if (has_key(info, PMIX_JOB_CTRL_RESUME) && is_true(info))
      return SIGCONT;
    if (has_key(info, PMIX_JOB_CTRL_SIGNAL))
      return static_cast<std::uint32_t>(std::clamp<std::int64_t>(number_of(info, 0), 0, 64));
  }
  return 0;
}

pmix_status_t on_control(const pmix_proc_t* who, const pmix_proc_t targets[], std::size_t count,
                         const pmix_info_t directives[], std::size_t directive_count,
                         pmix_info_cbfunc_t done, void* data) {
  return post(control_request{to_process(*who),
                              to_processes(targets, count),
                              signal_of({directives, directive_count}),
                              {done, data}});
}

#ifdef TROUPE_PMIX_HAS_GROUP
pmix_status_t on_group(pmix_group_operation_t operation, char name[],
                       const pmix_proc_t participants[], std::size_t count,
                       const pmix_info_t directives[], std::size_t directive_count,
                       pmix_info_cbfunc_t done, void* data) {
  group_request call{operation == PMIX_GROUP_CONSTRUCT,
                     name,
                     to_processes(participants, count),
                     false,
                     {done, data}};
  for (const auto& info : info_view{directives, directive_count})
    if (has_key(info, PMIX_GROUP_ASSIGN_CONTEXT_ID))
      call.wants_context = is_true(info);
  return post(std::move(call));
}
#endif

pmix_status_t post_connected(const pmix_proc_t* who) {
  target->post(client_connected{to_process(*who)});
  return PMIX_OPERATION_SUCCEEDED;
}

#ifdef TROUPE_PMIX_HAS_CONNECTED2
pmix_status_t on_connected2(const pmix_proc_t* who, void*, pmix_info_t*, std::size_t,
                            pmix_op_cbfunc_t, void*) {
  return post_connected(who);
}
#else
pmix_status_t on_connected(const pmix_proc_t* who, void*, pmix_op_cbfunc_t, void*) {
  return post_connected(who);
}
#endif

/// Nothing may be thrown through the library's C: what there was no memory for is refused.
template <auto Function, class... Arguments>
pmix_status_t without_throwing(Arguments... arguments) {
  try {
    return Function(arguments...);
  } catch (const std::bad_alloc&) {
    return PMIX_ERR_NOMEM;
  } catch (...) {
    return PMIX_ERROR;
  }
}

template <auto Function>
struct guarded;
template <class... Arguments, pmix_status_t (*Function)(Arguments...)>
struct guarded<Function> {
  static constexpr auto call = &without_throwing<Function, Arguments...>;
};

} // namespace

pmix_server_module_t make_module(upcall_queue& queue) {
  target = &queue;
  pmix_server_module_t module{};
#ifdef TROUPE_PMIX_HAS_CONNECTED2
  module.client_connected2 = guarded<on_connected2>::call;
#else
  module.client_connected = guarded<on_connected>::call;
#endif
  module.client_finalized = guarded<on_finalized>::call;
  module.abort = guarded<on_abort>::call;
  module.fence_nb = guarded<on_fence>::call;
  module.direct_modex = guarded<on_modex>::call;
  module.publish = guarded<on_publish>::call;
  module.lookup = guarded<on_lookup>::call;
  module.unpublish = guarded<on_unpublish>::call;
  module.spawn = guarded<on_spawn>::call;
  module.connect = guarded<on_connect>::call;
  module.disconnect = guarded<on_disconnect>::call;
  module.register_events = guarded<on_register_events>::call;
  module.deregister_events = guarded<on_deregister_events>::call;
  module.notify_event = guarded<on_event>::call;
  module.query = guarded<on_query>::call;
#ifdef TROUPE_PMIX_HAS_LOG2
  module.log2 = guarded<on_log2>::call;
#else
  module.log = on_log;
#endif
  module.job_control = guarded<on_control>::call;
#ifdef TROUPE_PMIX_HAS_GROUP
  module.group = guarded<on_group>::call;
#endif
  return module;
}

} // namespace troupe::pmix
