#include "swage/base/build_id.h"

#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace swage {
namespace {

std::string hex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) out += {kDigits[byte >> 4], kDigits[byte & 15]};
  return out;
}

// Notes follow each other: header, name and description, both padded to four bytes.
std::string build_id_among(std::string_view notes) {
  const auto padded = [](size_t size) { return (size + 3) / 4 * 4; };
  ElfW(Nhdr) note;
  while (notes.size() >= sizeof note) {
    std::memcpy(&note, notes.data(), sizeof note);
    const size_t at = sizeof note + padded(note.n_namesz);
    if (at + note.n_descsz > notes.size()) break;
    if (note.n_type == NT_GNU_BUILD_ID && notes.substr(sizeof note, note.n_namesz) == std::string_view("GNU", 4))
      return hex(notes.substr(at, note.n_descsz));
    notes.remove_prefix(std::min(notes.size(), at + padded(note.n_descsz)));
  }
  return {};
}

}  // namespace

std::string build_id() {
  struct Search {
    uintptr_t inside;
    std::string found;
  } search{reinterpret_cast<uintptr_t>(&build_id), {}};
  dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* data) {
        Search& search = *static_cast<Search*>(data);
        const std::span<const ElfW(Phdr)> segments(object->dlpi_phdr, object->dlpi_phnum);
        const bool ours = std::any_of(segments.begin(), segments.end(), [&](const ElfW(Phdr) & segment) {
          return segment.p_type == PT_LOAD && search.inside - (object->dlpi_addr + segment.p_vaddr) < segment.p_memsz;
        });
        if (!ours) return 0;
        for (const ElfW(Phdr) & segment : segments) {
          if (segment.p_type == PT_NOTE && search.found.empty())
            search.found =
                build_id_among({reinterpret_cast<const char*>(object->dlpi_addr + segment.p_vaddr), segment.p_memsz});
        }
        return 1;
      },
      &search);
  return search.found;
}

}  // namespace swage
