// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"

#include <cstdint>
#include <optional>
#include <sqlite3.h>
#include <string>
#include <string_view>
#include <utility>

// RAII over SQLite's C API. Results are SQLite's own codes: the store turns them into sentences.

namespace troupe::ledger {

/// A prepared statement. Parameters count from 1, columns from 0, as in SQLite.
class statement {
public:
  statement() = default;
  statement(statement&& other) noexcept : handle_{std::exchange(other.handle_, nullptr)} {}
  statement& operator=(statement&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;
  ~statement() { sqlite3_finalize(handle_); }

  /// Prepares `sql`; `lasting` for statements that are kept. Returns SQLite's code.
  int prepare(sqlite3* db, std::string_view sql, bool lasting = true);

  void bind(int at, std::int64_t value) { sqlite3_bind_int64(handle_, at, value); }
  void bind_null(int at) { sqlite3_bind_null(handle_, at); }

  /// Without a copy: the bytes must stay until the statement is reset.
  void bind(int at, byte_view bytes) {
    // A null pointer would bind NULL, not an empty value.
    const void* from = bytes.empty() ? "" : static_cast<const void*>(bytes.data());
    sqlite3_bind_blob64(handle_, at, from, bytes.size(), SQLITE_STATIC);
  }
  void bind(int at, std::string_view text) {
    const char* from = text.empty() ? "" : text.data();
    sqlite3_bind_text64(handle_, at, from, text.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  template <class T>
  void bind(int at, const std::optional<T>& value) {
    if (value)
      bind(at, std::int64_t{*value});
    else
      bind_null(at);
  }

  /// SQLITE_ROW, SQLITE_DONE or an error.
  int step() { return sqlite3_step(handle_); }

  /// Runs a statement that returns no rows, and resets it. SQLITE_OK or an error (the extended
  /// code).
  int run() {
    const int code = sqlite3_step(handle_);
    const int end = sqlite3_reset(handle_);
    return code == SQLITE_DONE ? SQLITE_OK : end;
  }

  void reset() { sqlite3_reset(handle_); }

  std::int64_t integer(int column) const { return sqlite3_column_int64(handle_, column); }
  bool is_null(int column) const { return sqlite3_column_type(handle_, column) == SQLITE_NULL; }
  /// Valid until the next step or reset.
  byte_view bytes(int column) const {
    const auto* from = static_cast<const std::uint8_t*>(sqlite3_column_blob(handle_, column));
    return {from, static_cast<std::size_t>(sqlite3_column_bytes(handle_, column))};
  }
  std::string_view text(int column) const { return as_text(bytes(column)); }

private:
  sqlite3_stmt* handle_ = nullptr;
};

/// One connection.
class database {
public:
  database() = default;
  database(database&& other) noexcept : handle_{std::exchange(other.handle_, nullptr)} {}
  database& operator=(database&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  database(const database&) = delete;
  database& operator=(const database&) = delete;
  ~database() { sqlite3_close_v2(handle_); }

  /// `vfs`: one of SQLite's names, or null for its default.
  int open(const std::string& path, int flags, const char* vfs = nullptr);
  int execute(const std::string& sql);

  /// The first column of the first row of a query, or its error.
  int query_integer(std::string_view sql, std::int64_t& value);

  sqlite3* get() const { return handle_; }
  std::string message() const { return sqlite3_errmsg(handle_); }

private:
  sqlite3* handle_ = nullptr;
};

} // namespace troupe::ledger
