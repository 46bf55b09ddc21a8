//go:build !race

package main

// raced says that the race detector is on, under which a store in Go takes ten times as long.
const raced = false
