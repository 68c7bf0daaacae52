// The gradient of a recurrent net with an output layer and softmax cross-entropy, by oneDNN's primitives: vanilla_rnn,
// vanilla_lstm, lbr_gru or vanilla_gru, forward (training) and backward, inner products, softmax. Built once per
// problem; `onednn_run` then does what every training step has to do. Weights come in the usual layout, gate by gate,
// since every step of training changes them, and are reordered to what the primitives prefer in each run; gradients
// stay in the layout that the primitives like best. Layers are a primitive each: one primitive for several wants X = H.
// Two directions are one primitive, bidirectional_concat. Letters: T steps, B sequences, X inputs, H hidden units, V
// outputs, G gates, D directions. float32, inputs as vectors.

#include <omp.h>

#include <cmath>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>
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

// The numbers by which peers.py names the cells.
enum Cell : std::int64_t { kRnn, kRnnRelu, kLstm, kLbrGru, kGru };

std::int64_t gates(std::int64_t cell) { return cell == kLstm ? 4 : cell == kLbrGru || cell == kGru ? 3 : 1; }

// lbr_gru has two biases in its last gate, inside and outside of the product with the reset.
std::int64_t biases(std::int64_t cell) { return cell == kLbrGru ? 4 : gates(cell); }

// What a recurrent primitive is built from.
struct Layouts {
  dnnl::rnn_direction order;
  dnnl::memory::desc x, state, W_xh, W_hh, b, h;
};

// The ways forward and back, and the layouts that they prefer.
struct Recurrent {
  dnnl::primitive forward, backward;
  dnnl::memory::desc workspace, W_xh, W_hh, W_xh_back, W_hh_back, dW_xh, dW_hh;
};

constexpr auto kTraining = dnnl::prop_kind::forward_training;
constexpr auto kBack = dnnl::prop_kind::backward;

template <typename Forward, typename Backward>
Recurrent both(const typename Forward::desc& forward, const typename Backward::desc& backward,
               const dnnl::engine& engine) {
  const typename Forward::primitive_desc there(forward, engine);
  const typename Backward::primitive_desc back(backward, engine, there);
  return {Forward(there),
          Backward(back),
          there.workspace_desc(),
          there.weights_layer_desc(),
          there.weights_iter_desc(),
          back.weights_layer_desc(),
          back.weights_iter_desc(),
          back.diff_weights_layer_desc(),
          back.diff_weights_iter_desc()};
}

Recurrent rnn(const Layouts& l, dnnl::algorithm activation, const dnnl::engine& engine) {
  return both<dnnl::vanilla_rnn_forward, dnnl::vanilla_rnn_backward>(
      {kTraining, activation, l.order, l.x, l.state, l.W_xh, l.W_hh, l.b, l.h, l.state},
      {kBack, activation, l.order, l.x, l.state, l.W_xh, l.W_hh, l.b, l.h, l.state, l.x, l.state, l.W_xh, l.W_hh, l.b,
       l.h, l.state},
      engine);
}

Recurrent lstm(const Layouts& l, const dnnl::engine& engine) {
  return both<dnnl::lstm_forward, dnnl::lstm_backward>(
      {kTraining, l.order, l.x, l.state, l.state, l.W_xh, l.W_hh, l.b, l.h, l.state, l.state},
      {kBack,   l.order, l.x,     l.state, l.state, l.W_xh, l.W_hh, l.b, l.h,     l.state,
       l.state, l.x,     l.state, l.state, l.W_xh,  l.W_hh, l.b,    l.h, l.state, l.state},
      engine);
}

template <typename Forward, typename Backward>
Recurrent gru(const Layouts& l, const dnnl::engine& engine) {
  return both<Forward, Backward>({kTraining, l.order, l.x, l.state, l.W_xh, l.W_hh, l.b, l.h, l.state},
                                 {kBack, l.order, l.x, l.state, l.W_xh, l.W_hh, l.b, l.h, l.state, l.x, l.state, l.W_xh,
                                  l.W_hh, l.b, l.h, l.state},
                                 engine);
}

Recurrent recurrent(std::int64_t cell, const Layouts& l, const dnnl::engine& engine) {
  if (cell == kLstm) return lstm(l, engine);
  if (cell == kLbrGru) return gru<dnnl::lbr_gru_forward, dnnl::lbr_gru_backward>(l, engine);
  if (cell == kGru) return gru<dnnl::gru_forward, dnnl::gru_backward>(l, engine);
  return rnn(l, cell == kRnn ? dnnl::algorithm::eltwise_tanh : dnnl::algorithm::eltwise_relu, engine);
}

// One layer: its arrays, and those of its way back.
struct Layer {
  std::int64_t X;  // numbers that it reads a step
  Recurrent recurrent;
  dnnl::memory x, W_xh, W_hh, b, h, workspace;
  dnnl::memory dh, dx, dW_xh, dW_hh, db;
  std::vector<dnnl::memory> states, last, dlast, dstates;
};

class Gradient {
 public:
  // states: h, and c after it if the cell is an LSTM, each of all layers and directions. W_xh, W_hh, b: gate by gate in
  // oneDNN's order, direction after direction, layer after layer.
  Gradient(const std::int64_t* sizes, const float* x, const float* states, const std::int64_t* labels,
           const float* W_xh, const float* W_hh, const float* W_hy, const float* b, const float* b_y)
      : T(sizes[0]),
        B(sizes[1]),
        X(sizes[2]),
        H(sizes[3]),
        V(sizes[4]),
        cell_(sizes[5]),
        D(sizes[7]),
        layers_(static_cast<std::size_t>(sizes[6])),
        labels_(labels, labels + T * B) {
    dnnl::memory read = filled(plain({T, B, X}, Tag::tnc), x);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      layer.X = l ? D * H : X, layer.x = read;
      layer.h = read = make(plain({T, B, D * H}, Tag::tnc));
      layer.W_xh = next(weights_layout(layer.X), W_xh), layer.W_hh = next(weights_layout(H), W_hh);
      layer.b = next(bias_layout(), b);
      for (int s = 0; s < (cell_ == kLstm ? 2 : 1); ++s)
        layer.states.push_back(filled(state_layout(), states + state_at(s, l)));
      const auto W = any(weights_layout(layer.X).dims()), U = any(weights_layout(H).dims());
      layer.recurrent = recurrent(
          cell_, {order(), layer.x.get_desc(), state_layout(), W, U, bias_layout(), layer.h.get_desc()}, engine_);
      recurrent_forward(layer);
    }
    W_hy_ = filled(plain({V, D * H}, Tag::nc), W_hy);
    b_y_ = filled(plain({V}, Tag::x), b_y);
    output_forward(layers_.back().h);
    softmax();
    output_backward(layers_.back());
    for (std::size_t l = layers_.size(); l-- > 0;) {
      recurrent_backward(layers_[l]);
      if (l) layers_[l - 1].dh = layers_[l].dx;
    }
  }

  void run() {
    for (const dnnl::memory& memory : cleared_) std::memset(memory.get_data_handle(), 0, memory.get_desc().get_size());
    for (const Call& call : before_loss_) call.primitive.execute(stream_, call.arguments);
    stream_.wait();
    cross_entropy();
    for (const Call& call : after_loss_) call.primitive.execute(stream_, call.arguments);
    stream_.wait();
  }

  // Everything in the layouts of the constructor, for the comparison.
  void results(float* dW_xh, float* dW_hh, float* dW_hy, float* db, float* db_y, float* dstates, double* loss) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      copy_next(layer.dW_xh, weights_layout(layer.X), dW_xh);
      copy_next(layer.dW_hh, weights_layout(H), dW_hh);
      copy_next(layer.db, bias_layout(), db);
      for (std::size_t s = 0; s < layer.dstates.size(); ++s)
        copy_out(layer.dstates[s], state_layout(), dstates + state_at(static_cast<std::int64_t>(s), l));
    }
    copy_out(dW_hy_, plain({V, D * H}, Tag::nc), dW_hy);
    copy_out(db_y_, plain({V}, Tag::x), db_y);
    *loss = loss_;
  }

 private:
  std::int64_t T, B, X, H, V, cell_, D;
  std::vector<Layer> layers_;
  std::vector<std::int64_t> labels_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::vector<Call> before_loss_, after_loss_;
  dnnl::inner_product_forward::primitive_desc output_;
  dnnl::memory W_hy_, b_y_, y_, p_, dW_hy_, db_y_;
  std::vector<dnnl::memory> cleared_;  // no loss on the last state; and backward adds to the weights' gradients
  double loss_ = 0;

  dnnl::rnn_direction order() const {
    return D == 2 ? dnnl::rnn_direction::bidirectional_concat : dnnl::rnn_direction::unidirectional_left2right;
  }

  dnnl::memory::desc state_layout() const { return plain({1, D, B, H}, Tag::ldnc); }

  dnnl::memory::desc bias_layout() const { return plain({1, D, biases(cell_), H}, Tag::ldgo); }

  dnnl::memory::desc weights_layout(std::int64_t columns) const {
    return plain({1, D, columns, gates(cell_), H}, Tag::ldgoi);
  }

  // Where state s of a layer begins.
  std::int64_t state_at(std::int64_t s, std::size_t layer) const {
    return (s * static_cast<std::int64_t>(layers_.size()) + static_cast<std::int64_t>(layer)) * D * B * H;
  }

  dnnl::memory make(const dnnl::memory::desc& desc) { return dnnl::memory(desc, engine_); }

  dnnl::memory filled(const dnnl::memory::desc& desc, const float* values) {
    dnnl::memory memory = make(desc);
    std::memcpy(memory.get_data_handle(), values, desc.get_size());
    return memory;
  }

  // The same, and goes on to what follows.
  dnnl::memory next(const dnnl::memory::desc& desc, const float*& values) {
    const float* const from = values;
    values += desc.get_size() / sizeof(float);
    return filled(desc, from);
  }

  void copy_out(dnnl::memory& from, const dnnl::memory::desc& desc, float* values) {
    dnnl::memory to(desc, engine_, values);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  void copy_next(dnnl::memory& from, const dnnl::memory::desc& desc, float*& values) {
    copy_out(from, desc, values);
    values += desc.get_size() / sizeof(float);
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

  std::vector<dnnl::memory> make_states(std::size_t count) {
    std::vector<dnnl::memory> made;
    for (std::size_t s = 0; s < count; ++s) made.push_back(make(state_layout()));
    return made;
  }

  // h has the first argument, c the second.
  static void add_states(Arguments& arguments, const std::vector<dnnl::memory>& states, int h, int c) {
    arguments[h] = states[0];
    if (states.size() > 1) arguments[c] = states[1];
  }

  // What the ways forward and back are given alike.
  static Arguments common(const Layer& layer, const dnnl::memory& W_xh, const dnnl::memory& W_hh) {
    Arguments arguments{{DNNL_ARG_SRC_LAYER, layer.x},  {DNNL_ARG_BIAS, layer.b},
                        {DNNL_ARG_WEIGHTS_LAYER, W_xh}, {DNNL_ARG_WEIGHTS_ITER, W_hh},
                        {DNNL_ARG_DST_LAYER, layer.h},  {DNNL_ARG_WORKSPACE, layer.workspace}};
    add_states(arguments, layer.states, DNNL_ARG_SRC_ITER, DNNL_ARG_SRC_ITER_C);
    add_states(arguments, layer.last, DNNL_ARG_DST_ITER, DNNL_ARG_DST_ITER_C);
    return arguments;
  }

  void recurrent_forward(Layer& layer) {
    layer.last = make_states(layer.states.size());
    layer.workspace = make(layer.recurrent.workspace);
    const auto W_xh = in_layout(before_loss_, layer.W_xh, layer.recurrent.W_xh);
    const auto W_hh = in_layout(before_loss_, layer.W_hh, layer.recurrent.W_hh);
    before_loss_.push_back({layer.recurrent.forward, common(layer, W_xh, W_hh)});
  }

  void output_forward(const dnnl::memory& given) {
    const auto h = plain({T * B, D * H}, Tag::nc), y = plain({T * B, V}, Tag::nc);
    const dnnl::inner_product_forward::desc desc(dnnl::prop_kind::forward_training, h, any({V, D * H}), b_y_.get_desc(),
                                                 y);
    output_ = {desc, engine_};
    y_ = make(y);
    const auto W_hy = in_layout(before_loss_, W_hy_, output_.weights_desc());
    before_loss_.push_back(
        {dnnl::inner_product_forward(output_),
         {{DNNL_ARG_SRC, rows(given, D * H)}, {DNNL_ARG_WEIGHTS, W_hy}, {DNNL_ARG_BIAS, b_y_}, {DNNL_ARG_DST, y_}}});
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

  void output_backward(Layer& last) {
    const auto h = plain({T * B, D * H}, Tag::nc);
    const dnnl::inner_product_backward_data::primitive_desc data({h, any({V, D * H}), p_.get_desc()}, engine_, output_);
    last.dh = make(last.h.get_desc());
    const auto W_hy = in_layout(after_loss_, W_hy_, data.weights_desc());
    after_loss_.push_back(
        {dnnl::inner_product_backward_data(data),
         {{DNNL_ARG_DIFF_DST, p_}, {DNNL_ARG_WEIGHTS, W_hy}, {DNNL_ARG_DIFF_SRC, rows(last.dh, D * H)}}});
    const dnnl::inner_product_backward_weights::primitive_desc weights(
        {h, any({V, D * H}), plain({V}, Tag::x), p_.get_desc()}, engine_, output_);
    dW_hy_ = make(weights.diff_weights_desc());
    db_y_ = make(plain({V}, Tag::x));
    after_loss_.push_back({dnnl::inner_product_backward_weights(weights),
                           {{DNNL_ARG_SRC, rows(last.h, D * H)},
                            {DNNL_ARG_DIFF_DST, p_},
                            {DNNL_ARG_DIFF_WEIGHTS, dW_hy_},
                            {DNNL_ARG_DIFF_BIAS, db_y_}}});
  }

  void recurrent_backward(Layer& layer) {
    const Recurrent& recurrent = layer.recurrent;
    layer.dlast = make_states(layer.states.size());
    layer.dstates = make_states(layer.states.size());
    layer.dx = make(layer.x.get_desc());
    layer.dW_xh = make(recurrent.dW_xh);
    layer.dW_hh = make(recurrent.dW_hh);
    layer.db = make(bias_layout());
    cleared_.insert(cleared_.end(), {layer.dW_xh, layer.dW_hh, layer.db});
    cleared_.insert(cleared_.end(), layer.dlast.begin(), layer.dlast.end());
    const auto W_xh = in_layout(after_loss_, layer.W_xh, recurrent.W_xh_back);
    const auto W_hh = in_layout(after_loss_, layer.W_hh, recurrent.W_hh_back);
    Arguments arguments = common(layer, W_xh, W_hh);
    arguments.insert({{DNNL_ARG_DIFF_SRC_LAYER, layer.dx},
                      {DNNL_ARG_DIFF_WEIGHTS_LAYER, layer.dW_xh},
                      {DNNL_ARG_DIFF_WEIGHTS_ITER, layer.dW_hh},
                      {DNNL_ARG_DIFF_BIAS, layer.db},
                      {DNNL_ARG_DIFF_DST_LAYER, layer.dh}});
    add_states(arguments, layer.dstates, DNNL_ARG_DIFF_SRC_ITER, DNNL_ARG_DIFF_SRC_ITER_C);
    add_states(arguments, layer.dlast, DNNL_ARG_DIFF_DST_ITER, DNNL_ARG_DIFF_DST_ITER_C);
    after_loss_.push_back({recurrent.backward, std::move(arguments)});
  }
};

}  // namespace

extern "C" {

// sizes: T, B, X, H, V, the cell, how many layers and how many directions. Null if oneDNN refuses.
void* onednn_create(const std::int64_t* sizes, const float* x, const float* states, const std::int64_t* labels,
                    const float* W_xh, const float* W_hh, const float* W_hy, const float* b, const float* b_y) {
  try {
    return new Gradient(sizes, x, states, labels, W_xh, W_hh, W_hy, b, b_y);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

void onednn_run(void* gradient, std::int64_t times) {
  for (std::int64_t i = 0; i < times; ++i) static_cast<Gradient*>(gradient)->run();
}

void onednn_results(void* gradient, float* dW_xh, float* dW_hh, float* dW_hy, float* db, float* db_y, float* dstates,
                    double* loss) {
  static_cast<Gradient*>(gradient)->results(dW_xh, dW_hh, dW_hy, db, db_y, dstates, loss);
}

void onednn_destroy(void* gradient) { delete static_cast<Gradient*>(gradient); }

void onednn_threads(int threads) { omp_set_num_threads(threads); }

int onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return version->major * 10000 + version->minor * 100 + version->patch;
}
}
