//go:build race

package program_test

// raced says that the race detector is on, under which a store in Go takes ten times as long.
const raced = true
