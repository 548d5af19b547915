// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/sqlite.hpp"

namespace troupe::ledger {

int statement::prepare(sqlite3* db, std::string_view sql, bool lasting) {
  sqlite3_finalize(std::exchange(handle_, nullptr));
  return sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()),
                            lasting ? SQLITE_PREPARE_PERSISTENT : 0, &handle_, nullptr);
}

int database::open(const std::string& path, int flags, const char* vfs) {
  const int code = sqlite3_open_v2(path.c_str(), &handle_, flags, vfs);
  if (handle_ != nullptr)
    sqlite3_extended_result_codes(handle_, 1);
  return code;
}

int database::execute(const std::string& sql) {
  return sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
}

int database::query_integer(std::string_view sql, std::int64_t& value) {
  statement query;
  if (const int code = query.prepare(handle_, sql, false); code != SQLITE_OK)
    return code;
  const int code = query.step();
  if (code != SQLITE_ROW)
    return code == SQLITE_DONE ? SQLITE_NOTFOUND : code;
  value = query.integer(0);
  return SQLITE_OK;
}

} // namespace troupe::ledger
