// The gradient of a tanh RNN with an output layer and softmax cross-entropy, by oneDNN's primitives: vanilla_rnn
// forward (training) and backward, inner products, softmax. Built once per problem; `onednn_run` then does what every
// training step has to do. Weights come in rnncore's layout, since every step of training changes them, and are
// reordered to what the primitives prefer in each run; gradients stay in the layout that the primitives like best.
// Letters: T steps, B sequences, X inputs, H hidden units, V outputs. float32, inputs as vectors.

#include <omp.h>

#include <cmath>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#if DNNL_VERSION_MAJOR != 2
#error "written for oneDNN 2 (Debian's libdnnl-dev)"
#endif

namespace {

using Tag = dnnl::memory::format_tag;
using Arguments = std::unordered_map<int, dnnl::memory>;

struct Call {
  dnnl::primitive primitive;
  Arguments arguments;
};

dnnl::memory::desc plain(const dnnl::memory::dims& dims, Tag tag) { return {dims, dnnl::memory::data_type::f32, tag}; }

dnnl::memory::desc any(const dnnl::memory::dims& dims) { return plain(dims, Tag::any); }

class Gradient {
 public:
  Gradient(const std::int64_t* sizes, const float* x, const float* state, const std::int64_t* labels, const float* W_xh,
           const float* W_hh, const float* W_hy, const float* b_h, const float* b_y)
      : T(sizes[0]), B(sizes[1]), X(sizes[2]), H(sizes[3]), V(sizes[4]), labels_(labels, labels + T * B) {
    x_ = filled(plain({T, B, X}, Tag::tnc), x);
    state_ = filled(plain({1, 1, B, H}, Tag::ldnc), state);
    W_xh_ = filled(plain({1, 1, X, 1, H}, Tag::ldgoi), W_xh);
    W_hh_ = filled(plain({1, 1, H, 1, H}, Tag::ldgoi), W_hh);
    b_h_ = filled(plain({1, 1, 1, H}, Tag::ldgo), b_h);
    W_hy_ = filled(plain({V, H}, Tag::nc), W_hy);
    b_y_ = filled(plain({V}, Tag::x), b_y);
    rnn_forward();
    output_forward();
    softmax();
    output_backward();
    rnn_backward();
  }

  void run() {
    for (const dnnl::memory& memory : cleared_) std::memset(memory.get_data_handle(), 0, memory.get_desc().get_size());
    for (const Call& call : before_loss_) call.primitive.execute(stream_, call.arguments);
    stream_.wait();
    cross_entropy();
    for (const Call& call : after_loss_) call.primitive.execute(stream_, call.arguments);
    stream_.wait();
  }

  // Everything in rnncore's layouts, for the comparison.
  void results(float* dW_xh, float* dW_hh, float* dW_hy, float* db_h, float* db_y, float* dstate, double* loss) {
    copy_out(dW_xh_, plain({1, 1, X, 1, H}, Tag::ldgoi), dW_xh);
    copy_out(dW_hh_, plain({1, 1, H, 1, H}, Tag::ldgoi), dW_hh);
    copy_out(dW_hy_, plain({V, H}, Tag::nc), dW_hy);
    copy_out(db_h_, plain({1, 1, 1, H}, Tag::ldgo), db_h);
    copy_out(db_y_, plain({V}, Tag::x), db_y);
    copy_out(dstate_, plain({1, 1, B, H}, Tag::ldnc), dstate);
    *loss = loss_;
  }

 private:
  std::int64_t T, B, X, H, V;
  std::vector<std::int64_t> labels_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::vector<Call> before_loss_, after_loss_;
  dnnl::vanilla_rnn_forward::primitive_desc rnn_;
  dnnl::inner_product_forward::primitive_desc output_;
  dnnl::memory x_, state_, W_xh_, W_hh_, b_h_, W_hy_, b_y_, h_, last_, y_, p_, workspace_;
  dnnl::memory dh_, dlast_, dx_, dstate_, dW_xh_, dW_hh_, db_h_, dW_hy_, db_y_;
  std::vector<dnnl::memory> cleared_;  // no loss on the last state; and backward adds to the weights' gradients
  double loss_ = 0;

  dnnl::memory make(const dnnl::memory::desc& desc) { return dnnl::memory(desc, engine_); }

  dnnl::memory filled(const dnnl::memory::desc& desc, const float* values) {
    dnnl::memory memory = make(desc);
    std::memcpy(memory.get_data_handle(), values, desc.get_size());
    return memory;
  }

  void copy_out(dnnl::memory& from, const dnnl::memory::desc& desc, float* values) {
    dnnl::memory to(desc, engine_, values);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  // The same values in the layout that a primitive asks for: itself if it has it, else a reorder in every run.
  dnnl::memory in_layout(std::vector<Call>& calls, dnnl::memory& from, const dnnl::memory::desc& desc) {
    if (from.get_desc() == desc) return from;
    dnnl::memory to = make(desc);
    calls.push_back({dnnl::reorder(from, to), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}});
    return to;
  }

  dnnl::memory rows(const dnnl::memory& steps, std::int64_t columns) {
    return dnnl::memory(plain({T * B, columns}, Tag::nc), engine_, steps.get_data_handle());
  }

  void rnn_forward() {
    const auto steps = plain({T, B, H}, Tag::tnc), one = plain({1, 1, B, H}, Tag::ldnc);
    const dnnl::vanilla_rnn_forward::desc desc(dnnl::prop_kind::forward_training, dnnl::algorithm::eltwise_tanh,
                                               dnnl::rnn_direction::unidirectional_left2right, x_.get_desc(),
                                               state_.get_desc(), any({1, 1, X, 1, H}), any({1, 1, H, 1, H}),
                                               b_h_.get_desc(), steps, one);
    rnn_ = {desc, engine_};
    h_ = make(steps);
    last_ = make(one);
    workspace_ = make(rnn_.workspace_desc());
    const auto W_xh = in_layout(before_loss_, W_xh_, rnn_.weights_layer_desc());
    const auto W_hh = in_layout(before_loss_, W_hh_, rnn_.weights_iter_desc());
    before_loss_.push_back({dnnl::vanilla_rnn_forward(rnn_),
                            {{DNNL_ARG_SRC_LAYER, x_},
                             {DNNL_ARG_SRC_ITER, state_},
                             {DNNL_ARG_WEIGHTS_LAYER, W_xh},
                             {DNNL_ARG_WEIGHTS_ITER, W_hh},
                             {DNNL_ARG_BIAS, b_h_},
                             {DNNL_ARG_DST_LAYER, h_},
                             {DNNL_ARG_DST_ITER, last_},
                             {DNNL_ARG_WORKSPACE, workspace_}}});
  }

  void output_forward() {
    const auto h = plain({T * B, H}, Tag::nc), y = plain({T * B, V}, Tag::nc);
    const dnnl::inner_product_forward::desc desc(dnnl::prop_kind::forward_training, h, any({V, H}), b_y_.get_desc(), y);
    output_ = {desc, engine_};
    y_ = make(y);
    const auto W_hy = in_layout(before_loss_, W_hy_, output_.weights_desc());
    before_loss_.push_back(
        {dnnl::inner_product_forward(output_),
         {{DNNL_ARG_SRC, rows(h_, H)}, {DNNL_ARG_WEIGHTS, W_hy}, {DNNL_ARG_BIAS, b_y_}, {DNNL_ARG_DST, y_}}});
  }

  void softmax() {
    p_ = make(y_.get_desc());
    const dnnl::softmax_forward::primitive_desc desc({dnnl::prop_kind::forward_training, y_.get_desc(), 1}, engine_);
    before_loss_.push_back({dnnl::softmax_forward(desc), {{DNNL_ARG_SRC, y_}, {DNNL_ARG_DST, p_}}});
  }

  // J, and p - label where p was.
  void cross_entropy() {
    float* p = static_cast<float*>(p_.get_data_handle());
    loss_ = 0;
    for (std::int64_t row = 0; row < T * B; ++row) {
      float& hit = p[row * V + labels_[static_cast<std::size_t>(row)]];
      loss_ -= std::log(hit);
      hit -= 1;
    }
  }

  void output_backward() {
    const auto h = plain({T * B, H}, Tag::nc);
    const dnnl::inner_product_backward_data::primitive_desc data({h, any({V, H}), p_.get_desc()}, engine_, output_);
    dh_ = make(plain({T, B, H}, Tag::tnc));
    const auto W_hy = in_layout(after_loss_, W_hy_, data.weights_desc());
    after_loss_.push_back({dnnl::inner_product_backward_data(data),
                           {{DNNL_ARG_DIFF_DST, p_}, {DNNL_ARG_WEIGHTS, W_hy}, {DNNL_ARG_DIFF_SRC, rows(dh_, H)}}});
    const dnnl::inner_product_backward_weights::primitive_desc weights(
        {h, any({V, H}), plain({V}, Tag::x), p_.get_desc()}, engine_, output_);
    dW_hy_ = make(weights.diff_weights_desc());
    db_y_ = make(plain({V}, Tag::x));
    after_loss_.push_back({dnnl::inner_product_backward_weights(weights),
                           {{DNNL_ARG_SRC, rows(h_, H)},
                            {DNNL_ARG_DIFF_DST, p_},
                            {DNNL_ARG_DIFF_WEIGHTS, dW_hy_},
                            {DNNL_ARG_DIFF_BIAS, db_y_}}});
  }

  void rnn_backward() {
    const auto steps = h_.get_desc(), one = state_.get_desc();
    const dnnl::vanilla_rnn_backward::desc desc(
        dnnl::prop_kind::backward, dnnl::algorithm::eltwise_tanh, dnnl::rnn_direction::unidirectional_left2right,
        x_.get_desc(), one, any({1, 1, X, 1, H}), any({1, 1, H, 1, H}), b_h_.get_desc(), steps, one, x_.get_desc(), one,
        any({1, 1, X, 1, H}), any({1, 1, H, 1, H}), b_h_.get_desc(), steps, one);
    const dnnl::vanilla_rnn_backward::primitive_desc back(desc, engine_, rnn_);
    dlast_ = make(one);
    dstate_ = make(one);
    dx_ = make(x_.get_desc());
    dW_xh_ = make(back.diff_weights_layer_desc());
    dW_hh_ = make(back.diff_weights_iter_desc());
    db_h_ = make(b_h_.get_desc());
    const auto W_xh = in_layout(after_loss_, W_xh_, back.weights_layer_desc());
    const auto W_hh = in_layout(after_loss_, W_hh_, back.weights_iter_desc());
    cleared_ = {dlast_, dW_xh_, dW_hh_, db_h_};
    after_loss_.push_back({dnnl::vanilla_rnn_backward(back),
                           {{DNNL_ARG_SRC_LAYER, x_},
                            {DNNL_ARG_SRC_ITER, state_},
                            {DNNL_ARG_WEIGHTS_LAYER, W_xh},
                            {DNNL_ARG_WEIGHTS_ITER, W_hh},
                            {DNNL_ARG_BIAS, b_h_},
                            {DNNL_ARG_DST_LAYER, h_},
                            {DNNL_ARG_DST_ITER, last_},
                            {DNNL_ARG_WORKSPACE, workspace_},
                            {DNNL_ARG_DIFF_SRC_LAYER, dx_},
                            {DNNL_ARG_DIFF_SRC_ITER, dstate_},
                            {DNNL_ARG_DIFF_WEIGHTS_LAYER, dW_xh_},
                            {DNNL_ARG_DIFF_WEIGHTS_ITER, dW_hh_},
                            {DNNL_ARG_DIFF_BIAS, db_h_},
                            {DNNL_ARG_DIFF_DST_LAYER, dh_},
                            {DNNL_ARG_DIFF_DST_ITER, dlast_}}});
  }
};

}  // namespace

extern "C" {

// sizes: T, B, X, H, V. Null if oneDNN refuses.
void* onednn_create(const std::int64_t* sizes, const float* x, const float* state, const std::int64_t* labels,
                    const float* W_xh, const float* W_hh, const float* W_hy, const float* b_h, const float* b_y) {
  try {
    return new Gradient(sizes, x, state, labels, W_xh, W_hh, W_hy, b_h, b_y);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

void onednn_run(void* gradient, std::int64_t times) {
  for (std::int64_t i = 0; i < times; ++i) static_cast<Gradient*>(gradient)->run();
}

void onednn_results(void* gradient, float* dW_xh, float* dW_hh, float* dW_hy, float* db_h, float* db_y, float* dstate,
                    double* loss) {
  static_cast<Gradient*>(gradient)->results(dW_xh, dW_hh, dW_hy, db_h, db_y, dstate, loss);
}

void onednn_destroy(void* gradient) { delete static_cast<Gradient*>(gradient); }

void onednn_threads(int threads) { omp_set_num_threads(threads); }

int onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return version->major * 10000 + version->minor * 100 + version->patch;
}
}
