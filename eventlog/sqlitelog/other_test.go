//go:build !linux

package sqlitelog

func unprivileged(string) error { return nil }
