// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <pmix.h>
#include <string>

// What the bare PMIx programs share: a client that ends with a sentence when something fails.

namespace client {

inline void need(const char* doing, pmix_status_t status, pmix_status_t wanted = PMIX_SUCCESS) {
  if (status == wanted)
    return;
  std::printf("%s: %s instead of %s\n", doing, PMIx_Error_string(status),
              PMIx_Error_string(wanted));
  std::fflush(stdout);
  std::_Exit(1);
}

struct session {
  pmix_proc_t me{};
  pmix_proc_t all{};
  unsigned size = 0;

  session() {
    need("init", PMIx_Init(&me, nullptr, 0));
    PMIX_LOAD_PROCID(&all, me.nspace, PMIX_RANK_WILDCARD);
    pmix_value_t* value = nullptr;
    need("job size", PMIx_Get(&all, PMIX_JOB_SIZE, nullptr, 0, &value));
    size = value->data.uint32;
    PMIX_VALUE_RELEASE(value);
  }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void fence() const { need("fence", PMIx_Fence(&all, 1, nullptr, 0)); }
  void end() const {
    std::printf("rank %u of %u: good\n", me.rank, size);
    std::fflush(stdout);
    need("finalize", PMIx_Finalize(nullptr, 0));
  }
};

/// Something that the library's thread tells and the program waits for.
class signal_box {
public:
  void tell(int what) {
    const std::lock_guard lock{mutex_};
    what_ = what;
    changed_.notify_all();
  }
  int wait() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return what_ != 0; });
    return what_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int what_ = 0;
};

inline signal_box box;

/// Every event of this code goes to `box`, as the number of the rank that it came from, plus 1.
inline void on_event(std::size_t, pmix_status_t, const pmix_proc_t* source, pmix_info_t*,
                     std::size_t, pmix_info_t*, std::size_t,
                     pmix_event_notification_cbfunc_fn_t done, void* data) {
  box.tell(static_cast<int>(source->rank) + 1);
  if (done != nullptr)
    done(PMIX_EVENT_ACTION_COMPLETE, nullptr, 0, nullptr, nullptr, data);
}

inline void listen_for(pmix_status_t code) {
  // With no callback the call blocks, and answers the handler's number.
  const auto number = PMIx_Register_event_handler(&code, 1, nullptr, 0, on_event, nullptr, nullptr);
  if (number < 0)
    need("register handler", number);
}

} // namespace client
