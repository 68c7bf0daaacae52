// Every number that only speed decides. None changes a bit of any result; what does stands in docs/arithmetic.md.
//
// Beside each number: what it weighs, and the run behind it. Files named are in bench/results/.
#pragma once

#include <stddef.h>

namespace rnncore::tuning {

constexpr ptrdiff_t kilobytes = 1 << 10, cache_line = 64;

// Rows of no more cache lines than that are not padded to an odd number of lines.
constexpr ptrdiff_t short_row_lines = 4;

// Tiles of products and sums. The accumulators of a tile stay in vector registers, of which AVX-512 and NEON have 32
// and the others 16; the rest is for the operands. No side is longer than tile_side. tile_rows: of a product's tile of
// full height; wider ones are for fewer rows. (4x6, 8x3 and 12x2 were within 1 % of 6x4, or slower: the sweep.) A tile
// of sums is outer_rows high where there are so many rows: a panel of the second factor is then small enough to stay in
// the L1 cache beside what the tile reads of the first. Where the processor has no fused multiply-add each one is many
// instructions: larger tiles gain nothing, and are half a megabyte of code. (2x2 over 6x2, cpp.baseline, S1 to S3:
// float32 .97 to 1.0, float64 1.0 to 1.07.)
constexpr int tile_side = 12;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tile_registers = 24, tile_rows = 6, outer_rows = 8;
#elif defined(__FMA__)
constexpr int tile_registers = 12, tile_rows = 6, outer_rows = 6;
#else
constexpr int tile_registers = 4, tile_rows = 2, outer_rows = 2;
#endif

// Sums of outer products: a strip of the first factor stays in the L2 cache for all of the second. (Strips of 64 KB:
// 1 to 3 % faster at S5, 10 % at X = 5000, than none.)
constexpr ptrdiff_t strip_bytes = 64 * kilobytes, strip_tiles = 24;

// Rows of dW_xh that are no whole vectors are summed in place if there are no more steps than inputs, and if padding
// makes a row no more than so many times as long. (S1: bptt takes .95 of the time on AVX-512, .94 on AVX2.)
constexpr double most_filling = 1.25;

// Sums of no more rows than that are written line after line, in tiles as wide as can be. (Intel, one step of one
// sequence, H = 1024: rnn 1.14 to .88 ms, gru 3.3 to 2.5.)
constexpr ptrdiff_t few_rows = 16;

// What they read is copied where its rows lie farther apart than chosen.far_row_bytes, or farther than near_row_bytes
// and an even number of cache lines, if it is read for more panels, or columns, than that: up to copied_bytes at a
// time. (Intel, 96 address translations near: sums of 1024 x 256 10 %, of 1024 x 1024 18 % faster.)
constexpr ptrdiff_t near_row_bytes = 512, copied_bytes = 512 * kilobytes;
constexpr ptrdiff_t panels_worth_a_copy = 4, columns_worth_a_copy = 48;

// The rows of the block before are prefetched while a block is summed, if a block is no larger. (Two threads: lstm S3
// sums 9 % faster, S7 5 to 10 %.)
constexpr ptrdiff_t prefetched_block_bytes = 256 * kilobytes;

// Weights that are multiplied no more often than that are not packed. Up to rows_in_place rows read them where they
// lie: a few times as fast as packed ones, and more often if they are larger than chosen.far_weights_bytes and do not
// fit into the L2 cache. (Intel, 2 MB of L2, one sequence: H 1024 T = 8 20 % faster for lstm, 4 % slower for rnn; H 512
// T = 4 27 % faster for rnn; H 128 T = 4 as fast, T = 8 13 % slower.) More rows have blocks of panels laid out, no
// wider than block_vectors, so that a block stays in the L1 cache. (H 512, B 20: T = 4 30 % slower than packed.)
constexpr ptrdiff_t uses_worth_packing = 2, uses_in_place = 4, uses_of_far_weights = 8, rows_in_place = 4;
constexpr ptrdiff_t block_vectors = 4;

// Products of up to rows_in_turns rows that read weights where they lie compute blocks_in_turns blocks of terms in
// turns: in a block each fma waits 4 cycles for the one before. (Intel, cycles for 1 KB of weights in the L2 cache:
// AVX-512 one row 60 to 53, two 66 to 61, four 88 to 80; AVX2 123 to 76, 130 to 85, 138 to 112. For three and four rows
// the code would add 10 KB to a wheel.) With AVX-512 weights from beyond the L2 cache come no faster than one block at
// a time uses them, and turns are 2 to 4 % slower (H = 640 to 1024).
constexpr int rows_in_turns = 2;
#if defined(__AVX512F__)
constexpr int blocks_in_turns = 2;
constexpr bool far_in_turns = false;
#elif defined(__FMA__) || defined(__aarch64__)
constexpr int blocks_in_turns = 2;
constexpr bool far_in_turns = true;
#else
constexpr int blocks_in_turns = 1;
constexpr bool far_in_turns = false;
#endif

// The rows of a step that go through the recurrent product and the cell together: what the product leaves to the cell
// stays in the L1 cache.
constexpr ptrdiff_t rows_together = 64;

// How many rows before its turn a row of the tape is prefetched. (lstm S7 10 %, gru S7 7 to 10 % faster.)
constexpr ptrdiff_t tape_rows_ahead = 4;

// Of a chunk's rows of h before resets, so many at most are made zeros where they lie. (H = 32, T = 128, B = 16, a
// reset in each chunk: rnn 16 to 9 us more than without resets, lstm 27 to 15.)
constexpr ptrdiff_t rows_zeroed_in_place = 16;

// Columns of W_xh are packed into a table for tokens unless it is this many times as large as what is read of it.
constexpr ptrdiff_t token_table_factor = 4;

// Softmax: up to this many classes vectors run across rows.
constexpr ptrdiff_t classes_across_rows = 8;

// Rows of a ragged batch that a chunk of time has at least, where its steps have few: as many as a block of the sums.
constexpr ptrdiff_t chunk_rows = 128;

// Threads. With fewer sequences for each than shared_sequences, and as many hidden units as shared_units, threads share
// the units and meet at every step, about a microsecond. Otherwise work is cut into up to pieces_a_thread pieces for
// each thread, of at least so many sequences, or vectors of gates: a thread that must wait holds up one piece.
constexpr ptrdiff_t shared_sequences = 3, shared_units = 256;
constexpr ptrdiff_t pieces_a_thread = 4, piece_sequences = 64, piece_vectors = 4;

// But threads take chunks together and meet after each, if a chunk has so many operations for each of them, and if so
// many bytes need not be kept then: the gradients with respect to all gates. (Two threads, Intel: lstm S7 11 %, gru S7
// 22 % faster. Elsewhere within 3 %, but slower where other programs run.)
constexpr double operations_worth_a_meeting = 5e6;
constexpr ptrdiff_t gates_worth_meeting = 8192 * kilobytes;

// A call is worth a thread for each so many floating-point operations of a layer, if there are so many in each step. Of
// few sequences, and of ways back alone, so much counts. (Two threads over one, Intel, from 5e7 operations on: .69 to
// 1.02 with 1e5 in a step, up to 1.4 with fewer; .81 to 1.08 with 2 to 6 sequences, 1.0 to 1.1 with one; 1.29 to .9 for
// ways back: threads-intel-xeon-6-167.md. To wake a thread takes 5 us, or 40 if its core sleeps.)
constexpr double operations_worth_a_thread = 2.5e7, operations_of_a_step_worth_a_thread = 5e4;
constexpr ptrdiff_t sequences_worth_sharing = 7;
constexpr double share_of_few_sequences = 0.2, share_without_forward = 2.0 / 3;

// Threads that wait look so long before they sleep, and at the clock after so many looks: to fall asleep and wake up
// takes as long.
constexpr int microseconds_awake = 20, looks_between_clocks = 16;

// Numbers on which processors disagree. system/processor.cpp chooses them when the module is made, by what it finds;
// the environment's RNNCORE_TUNING says others, to measure what they weigh.
//
// Rows are far_row_bytes apart, or more, where each is on a page of its own and the processor has too few translations
// of addresses at hand: where a load over many pages takes near_load times as long as over few. Else none is far.
// (Intel, pages of 4 KB, 96 translations: 1.2 and 2.9 ns. Without copies S5 takes 1.27, 1.06, 1.12 times as long: rnn,
// lstm, gru.) Half the L2 cache is far_weights_bytes.
struct Chosen {
  ptrdiff_t far_row_bytes, far_weights_bytes;
};
extern Chosen chosen;
constexpr ptrdiff_t far_row_bytes = 2560, usual_l2_bytes = 1024 * kilobytes;
constexpr double near_load = 1.5;

// Memory. Work areas and results lie in pages of this size where the system has them. Up to kept_memory is kept for
// calls that may not need it, and spare pages for large results: fresh ones may cost nearly as much as a pass forward.
constexpr size_t huge_page = size_t{2} << 20, kept_memory = size_t{256} << 20, large_result = size_t{256} << 10;

// A CPU quota is read again after so many seconds. Small calls copy so many indices on the stack: S0 does not wait for
// an allocation.
constexpr int seconds_a_quota_holds = 5;
constexpr ptrdiff_t indices_on_stack = 64;

// Python's signal handlers are asked no more often than this: it takes the GIL.
constexpr int milliseconds_between_signals = 20;

// A step of a net that is held releases the GIL if it has so many operations, some 100 us: to take the GIL again may
// take 5 ms while another Python thread computes.
constexpr double operations_worth_the_gil = 4e6;

// Floating-point operations between two looks for Ctrl-C, at most: some milliseconds.
constexpr double operations_between_looks = 2e8;

}  // namespace rnncore::tuning
