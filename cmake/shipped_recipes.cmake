# Writes OUT, the C++ table of the recipes in FOLDER: cmake -DFOLDER=recipes -DOUT=shipped_recipes.cpp -P shipped_recipes.cmake
file(GLOB files ${FOLDER}/*.yaml)
list(SORT files)
set(rows "")
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} text)
  string(APPEND rows "      {\"${name}\", R\"recipe(${text})recipe\"},\n")
endforeach()
file(WRITE ${OUT} "#include \"swage/recipe/shipped.h\"

namespace swage::recipe {

const std::vector<std::pair<std::string_view, std::string_view>>& shipped_recipes() {
  static const std::vector<std::pair<std::string_view, std::string_view>> rows = {
${rows}  };
  return rows;
}

}  // namespace swage::recipe
")
