//go:build !race

package ensue_test

// raceFactor is by how much what a test prepares is smaller under the race detector: it is off.
const raceFactor = 1
