// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/connection.hpp"

#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace troupe::ledger {

int open_connection(database& db, const std::string& path, int flags) {
  // One thread owns a connection: no mutexes.
  int code = db.open(path, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, "unix-excl");
  if (code == SQLITE_OK)
    code = db.execute("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; "
                      "PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY; "
                      "PRAGMA trusted_schema = OFF");
  return code;
}

bool is_full(int code) {
  return (code & 0xff) == SQLITE_FULL || code == SQLITE_IOERR_WRITE ||
         code == SQLITE_IOERR_TRUNCATE || code == SQLITE_IOERR_SHMSIZE;
}

bool is_failed_sync(int code) {
  return code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
}

tl::unexpected<error> sentence_of(int code, const std::string& path, const std::string& doing,
                                  const database& db) {
  const auto text = doing + ": ";
  if (is_failed_sync(code))
    return fail(errc::storage, text + "the disk failed to sync " + path);
  if (is_full(code))
    return fail(errc::storage, text + "the ledger " + path +
                                   " cannot grow, its file system is full; free space there");
  switch (code & 0xff) {
  case SQLITE_NOTADB:
    return fail(errc::invalid, text + path +
                                   " is not a ledger of Troupe; "
                                   "name another file or move this one away");
  case SQLITE_CORRUPT:
    return fail(errc::storage,
                text + "the ledger " + path + " is damaged; restore it from a backup");
  case SQLITE_BUSY:
    return fail(errc::conflict,
                text + "another process has the ledger " + path + " open; stop it first");
  default:
    return fail(errc::storage, text + "the ledger " + path + " does not work: " + db.message());
  }
}

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos)
    return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool sync_directory(const std::string& path) {
  const unique_fd directory{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  return directory && ::fsync(directory.get()) == 0;
}

// -- a connection that reads ---------------------------------------------------------------------

tl::unexpected<error> reads::connection::failure(int code, const std::string& doing) const {
  return sentence_of(code, path, doing, db);
}

expected<reader> reader::open(const std::string& path) {
  auto own = std::make_unique<connection>();
  own->path = path;
  const auto doing = std::string{"opening the ledger to read it"};
  int code = open_connection(own->db, path, SQLITE_OPEN_READWRITE);
  if (code == SQLITE_OK)
    code = own->db.execute("PRAGMA query_only = ON");
  if (code == SQLITE_OK)
    code = own->prepare_reads();
  if (code != SQLITE_OK)
    return own->failure(code, doing);
  return reader{std::move(own)};
}

} // namespace troupe::ledger
