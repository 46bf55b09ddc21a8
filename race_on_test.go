//go:build race

package ensue_test

// raceFactor is by how much the race detector makes slower what a test does; it prepares less by as much.
const raceFactor = 10
