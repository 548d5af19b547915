// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/mpi_choice.hpp"

#include "base/unique_fd.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <optional>
#include <span>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

// The dynamic section of ELF files (System V ABI, chapter 5), as far as it names libraries. Files
// may be anything: every offset is checked before it is followed.

namespace troupe::cli {

namespace {

constexpr std::size_t files_max = 64;
constexpr std::size_t names_max = 512;
constexpr std::array<std::string_view, 9> plain_libraries{"libc.so",   "libm.so",  "libpthread.so",
                                                          "libdl.so",  "librt.so", "libgcc_s.so",
                                                          "libstdc++", "ld-linux", "libz.so"};

/// A file's bytes, mapped; empty when it cannot be read.
class mapped_file {
public:
  explicit mapped_file(const std::string& path) {
    const unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat about {};
    if (!file || ::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode) || about.st_size <= 0)
      return;
    const auto size = static_cast<std::size_t>(about.st_size);
    auto* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (at != MAP_FAILED)
      bytes_ = {static_cast<const char*>(at), size};
  }
  ~mapped_file() {
    if (!bytes_.empty())
      ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  mapped_file(const mapped_file&) = delete;
  mapped_file& operator=(const mapped_file&) = delete;

  template <class T>
  std::optional<T> read(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T))
      return std::nullopt;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  std::string text(std::uint64_t offset) const {
    if (offset >= bytes_.size())
      return {};
    const auto rest = std::min<std::size_t>(bytes_.size() - offset, 4096);
    return {bytes_.data() + offset, ::strnlen(bytes_.data() + offset, rest)};
  }

private:
  std::span<const char> bytes_;
};

struct needed_libraries {
  std::vector<std::string> names;
  std::string search; ///< its own DT_RUNPATH or DT_RPATH
};

using program_headers = std::vector<Elf64_Phdr>;

program_headers headers_of(const mapped_file& file) {
  const auto head = file.read<Elf64_Ehdr>(0);
  if (!head || std::memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
      head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_phentsize != sizeof(Elf64_Phdr))
    return {};
  program_headers result;
  for (std::uint64_t i = 0; i < head->e_phnum; ++i)
    if (auto one = file.read<Elf64_Phdr>(head->e_phoff + i * sizeof(Elf64_Phdr)))
      result.push_back(*one);
  return result;
}

/// Where an address of the loaded program stands in its file.
std::optional<std::uint64_t> offset_of(const program_headers& headers, std::uint64_t address) {
  for (const auto& each : headers)
    if (each.p_type == PT_LOAD && address >= each.p_vaddr && address - each.p_vaddr < each.p_filesz)
      return each.p_offset + (address - each.p_vaddr);
  return std::nullopt;
}

needed_libraries libraries_of(const std::string& path) {
  const mapped_file file{path};
  const auto headers = headers_of(file);
  const auto dynamic = std::find_if(headers.begin(), headers.end(),
                                    [](const auto& each) { return each.p_type == PT_DYNAMIC; });
  if (dynamic == headers.end())
    return {};
  std::vector<std::uint64_t> names;
  std::optional<std::uint64_t> strings, search;
  for (std::uint64_t i = 0; i < names_max; ++i) {
    const auto entry = file.read<Elf64_Dyn>(dynamic->p_offset + i * sizeof(Elf64_Dyn));
    if (!entry || entry->d_tag == DT_NULL)
      break;
    if (entry->d_tag == DT_NEEDED)
      names.push_back(entry->d_un.d_val);
    else if (entry->d_tag == DT_STRTAB)
      strings = offset_of(headers, entry->d_un.d_ptr);
    else if (entry->d_tag == DT_RUNPATH || (entry->d_tag == DT_RPATH && !search))
      search = entry->d_un.d_val;
  }
  needed_libraries result;
  if (!strings)
    return result;
  for (auto name : names)
    result.names.push_back(file.text(*strings + name));
  if (search)
    result.search = file.text(*strings + *search);
  return result;
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= list.size();) {
    const auto end = std::min(list.find(':', at), list.size());
    parts.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

std::optional<std::string> find_in(const std::vector<std::string>& directories,
                                   const std::string& name) {
  for (const auto& directory : directories) {
    const auto path = (directory.empty() ? "." : directory) + "/" + name;
    if (::access(path.c_str(), R_OK) == 0)
      return path;
  }
  return std::nullopt;
}

/// Where the loader would look, near enough: its cache holds what is in these.
std::optional<std::string> find_library(const std::string& name, const std::string& user,
                                        std::string search) {
  const auto folder = user.substr(0, user.rfind('/'));
  for (std::size_t at = 0; (at = search.find("$ORIGIN", at)) != std::string::npos;)
    search.replace(at, 7, folder);
  std::vector<std::string> places;
  if (!search.empty())
    places = split(search);
  if (const auto* given = std::getenv("LD_LIBRARY_PATH"))
    for (auto& each : split(given))
      places.push_back(std::move(each));
  for (const auto* each : {"/lib/" TROUPE_MULTIARCH, "/usr/lib/" TROUPE_MULTIARCH, "/usr/local/lib",
                           "/lib64", "/usr/lib64", "/lib", "/usr/lib"})
    places.emplace_back(each);
  return find_in(places, name);
}

std::optional<mpi_mode> mpi_of_library(std::string_view name) {
  // libmpi.so.12 is the name that MPICH and those compatible with it have agreed on.
  if (name.starts_with("libmpich") || name == "libmpi.so.12")
    return mpi_mode::pmi1;
  if (name.starts_with("libmpi.so") || name.starts_with("libmpi_") ||
      name.starts_with("libpmix.so") || name.starts_with("libopen-rte.so"))
    return mpi_mode::pmix;
  return std::nullopt;
}

bool is_plain(std::string_view name) {
  return std::any_of(plain_libraries.begin(), plain_libraries.end(),
                     [&](std::string_view each) { return name.starts_with(each); });
}

} // namespace

mpi_mode mpi_of_program(const std::string& program, const std::string& directory,
                        const std::string& path) {
  std::optional<std::string> start;
  if (program.find('/') == std::string::npos)
    start = find_in(split(path), program);
  else
    start = program.front() == '/' ? program : directory + "/" + program;
  if (!start)
    return mpi_mode::none;
  std::vector<std::string> files{*start};
  std::vector<std::string> known;
  for (std::size_t i = 0; i < files.size() && i < files_max; ++i) {
    const auto user = files[i];
    const auto libraries = libraries_of(user);
    for (const auto& name : libraries.names) {
      if (const auto found = mpi_of_library(name))
        return *found;
      if (is_plain(name) || std::find(known.begin(), known.end(), name) != known.end())
        continue;
      known.push_back(name);
      if (auto next = find_library(name, user, libraries.search))
        files.push_back(std::move(*next));
    }
  }
  return mpi_mode::none;
}

} // namespace troupe::cli
