// Package pgtest gives tests a PostgreSQL server of their own, from the programs that are installed, without containers
// and without anything to set up. The smallest useful test:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestAnswer(t *testing.T) {
//		conn, err := pgx.Connect(t.Context(), pgtest.Database(t))
//		...
//	}
//
// Database makes an empty database on a server that all test binaries of the repository share. It starts when the
// first of them needs it, is not made for surviving anything (fsync is off), and goes when the last one ends. Tests
// that stop, kill, follow or configure a server start one with New.
//
// The programs (initdb, postgres and the others) are looked for in the folder that ENSUE_TEST_POSTGRES_BIN names, then
// on PATH, then where packages for Debian and Homebrew put them, the newest first. ENSUE_TEST_POSTGRES is the URL of a
// server on which Database makes its databases instead; its user must be allowed to create some. Where there is
// nothing, tests are skipped. Under root the servers run as the user postgres, or else nobody, since PostgreSQL refuses
// to run as root.
//
// All that is kept is in one folder of os.TempDir, named after the user and the repository. It is removed at the end; if
// that end is a crash, by the next test binary.
package pgtest

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

const (
	serverVariable = "ENSUE_TEST_POSTGRES"
	binVariable    = "ENSUE_TEST_POSTGRES_BIN"
)

// errMissing is why a test is skipped: it says what to do about it.
var errMissing = errors.New("needs a PostgreSQL server: install one (Debian: postgresql, Homebrew: postgresql@17), or set " +
	binVariable + " to the folder of its initdb and postgres, or " + serverVariable + " to the URL of a server for tests")

// Main runs a package's tests, and returns the code to exit with. When the tests have ended and no other test binary
// uses the shared server, it stops that server and removes everything; if it can't, it says so and the code is not 0.
// Nothing is started unless a test asks for it.
func Main(m *testing.M) int {
	ours.begin()
	code := m.Run()
	if err := ours.leave(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: giving the shared server back:", err)
		code = max(code, 1)
	}
	return code
}

// Database makes an empty database of the test's own on the shared server, in UTF-8, and returns its address: a URL that
// pgx and psql understand, of a superuser. The database is dropped when the test ends, with connections and prepared
// transactions that it left behind.
//
// What belongs to a server and not to a database is shared by all tests that run at a time: 200 connections, 20 prepared
// transactions and their names, roles, and the numbers of transactions.
//
// A failure is the test's failure; without PostgreSQL the test is skipped.
func Database(tb testing.TB) string {
	tb.Helper()
	if given := os.Getenv(serverVariable); given != "" {
		return newDatabase(tb, given, "the server of "+serverVariable, func() bool { return true })
	}
	address, err := ours.sharedServer(tb.Context())
	if err != nil {
		skipOrFail(tb, err)
	}
	return newDatabase(tb, address, "the shared server", func() bool { return true })
}

// Bin returns the path of one of PostgreSQL's programs, of the same version as the servers here; it is empty where there
// is none.
func Bin(name string) string {
	folder, err := binFolder()
	if err != nil {
		return ""
	}
	return program(folder, name)
}

func skipOrFail(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, errMissing) {
		tb.Skip(err)
	}
	tb.Fatal("pgtest:", err)
}
