//go:build race

package ensue_test

// raceFactor is by how much what a test prepares is smaller under the race detector, which makes it slower by as much.
const raceFactor = 10
