// What the routes do. Each answers its call, at once or when the engine is done; what it throws becomes the answer.
#pragma once
#include "apps/server/service.h"

namespace swage::server {

using Handler = void (*)(Service& service, const Call& call);

// OpenAI's.
void list_models(Service& service, const Call& call);
void get_model(Service& service, const Call& call);
void complete(Service& service, const Call& call);
void chat(Service& service, const Call& call);
void respond(Service& service, const Call& call);
void embed(Service& service, const Call& call);

// TGI's.
void tgi_generate(Service& service, const Call& call);
void tgi_generate_stream(Service& service, const Call& call);
void tgi_compatible(Service& service, const Call& call);
void tgi_info(Service& service, const Call& call);
void tgi_chat_tokenize(Service& service, const Call& call);

// llama.cpp's; tokenize is TGI's too, by its fields.
void llama_complete(Service& service, const Call& call);
void tokenize(Service& service, const Call& call);
void detokenize(Service& service, const Call& call);
void props(Service& service, const Call& call);

// Compressions.
void create_job(Service& service, const Call& call);
void list_jobs(Service& service, const Call& call);
void get_job(Service& service, const Call& call);
void cancel_job(Service& service, const Call& call);
void upload(Service& service, const Call& call);

// Of operation.
void health(Service& service, const Call& call);
void ready(Service& service, const Call& call);
void metrics(Service& service, const Call& call);
void version(Service& service, const Call& call);
void page(Service& service, const Call& call);

}  // namespace swage::server
