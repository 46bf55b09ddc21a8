//go:build race

package ensue_test

// raceFactor is how much slower the race detector may make what a test times.
const raceFactor = 10
