// Package chaos_test runs the real binary on a real data folder, kills it with
// -9 again and again, breaks its clients' connections, fills its disk, and has
// bench.Check prove in the end that nothing was lost, doubled, reordered or made
// up (invariants 1, 3, 4, 8 and 9).
//
//	commanders, subscribers ──> proxy ──> bms serve ──> data folder
//	   (bench.Load)               ↑           ↑             ↑
//	                        cut, stall,     kill,       fill the
//	                        delay, hole     freeze        disk
//
// What happens when comes from a seed, which a failing test prints. The same
// seed gives the same faults in the same order; what they meet is up to the
// machine.
//
//	make chaos DURATION=10m                        long
//	go test ./cmd/bms/chaos                        short
//	CHAOS_SEED=7 CHAOS_DURATION=1m go test ./cmd/bms/chaos
package chaos_test
