# Writes shipped_recipes.cpp into the build folder: the C++ table of the recipes in recipes/. Done when CMake runs, and again when one of them changes.
file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/recipes/*.yaml)
list(SORT files)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${files})
set(rows "")
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} text)
  string(APPEND rows "      {\"${name}\", R\"recipe(${text})recipe\"},\n")
endforeach()
# @ONLY, and only if it differs, so that a run of CMake alone rebuilds nothing.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/shipped_recipes.cpp CONTENT "#include \"swage/recipe/shipped.h\"

namespace swage::recipe {

const std::vector<std::pair<std::string_view, std::string_view>>& shipped_recipes() {
  static const std::vector<std::pair<std::string_view, std::string_view>> rows = {
${rows}  };
  return rows;
}

}  // namespace swage::recipe
" @ONLY)
