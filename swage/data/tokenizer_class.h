// The class of transformers (5.24) that reads a model's tokenizer. Some classes have rules of their own, which hold
// whatever tokenizer.json says; one has none (TokenizersBackend) and takes the files as they are.
#pragma once
#include <string>
#include <string_view>

namespace swage::data {

// `declared`: `tokenizer_class` of tokenizer_config.json, or empty. Empty where the model's type has a class that is
// not known here.
std::string tokenizer_class(std::string declared, std::string_view model_type);

// Without rules of its own. "Fast" is cut off.
bool takes_files_as_they_are(std::string_view tokenizer_class);

}  // namespace swage::data
