package pgtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A home is the folder that the test binaries of a repository share. In it are
//
//	start      a file that who starts or stops something for all has locked
//	users      a file that each binary has locked, shared, as long as it uses anything here
//	template   an empty cluster, of which every server begins as a copy: initdb takes longer than all else
//	shared     the shared server
//	p…         a server of one test
//
// The system lets go of a killed binary's locks. So whoever can have users for himself is alone, and what he finds is
// left behind by nobody alive: the first one removes it before he begins, the last one removes everything.
type home struct {
	root string // of the repository; set before its first use

	mu     sync.Mutex
	began  bool // Main runs
	dir    string
	bin    string
	who    *account
	users  *os.File // locked while we use the folder; nil before
	shared *Server
	made   int // servers with a folder of ours
}

// ours is what this test binary has of the folder.
var ours home

// How long it may take to make, start or stop a server on a machine that is busy with tests. With the lock on start, one
// waits for another.
const startTimeout = 2 * time.Minute

// sharedName is the folder of the shared server, and templateName of what all servers are copies of.
const (
	sharedName   = "shared"
	templateName = "template"
)

// begin is Main's: it remembers where we are, since a test may go elsewhere.
func (h *home) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began = true
	if h.root == "" {
		h.root = moduleRoot()
	}
}

// moduleRoot is the folder of the go.mod above the package that is tested, or that package's if there is none.
func moduleRoot() string {
	wd, err := os.Getwd()
	if err != nil {
		return ""
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return wd
		}
	}
}

// sharedServer returns the address of the shared server. It starts one unless there is one that works.
func (h *home) sharedServer(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shared != nil {
		return h.shared.URL("postgres"), nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	start, err := h.join(ctx)
	if err != nil {
		return "", err
	}
	defer start.Close()

	s := &Server{dir: filepath.Join(h.dir, sharedName), home: h, port: defaultPort, shared: true}
	if !s.healthy(ctx) {
		if err := removeServer(ctx, s.dir); err != nil {
			return "", fmt.Errorf("removing a server that doesn't work any more: %w", err)
		}
		if err := s.make(ctx, Options{}); err != nil {
			return "", err
		}
		if err := s.start(ctx); err != nil {
			return "", errors.Join(err, removeServer(context.WithoutCancel(ctx), s.dir))
		}
	}
	h.shared = s
	return s.URL("postgres"), nil
}

// newServer returns a server of a test's own that is yet to be made. There is a template to make it from.
func (h *home) newServer(ctx context.Context) (*Server, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	start, err := h.join(ctx)
	if err != nil {
		return nil, err
	}
	defer start.Close()
	h.made++
	// A short name: the path of a socket has hardly more than a hundred bytes.
	return &Server{dir: filepath.Join(h.dir, fmt.Sprintf("p%d-%d", os.Getpid(), h.made)), home: h, port: defaultPort}, nil
}

// join makes this binary a user of the folder, and returns with the lock on start.
func (h *home) join(ctx context.Context) (*os.File, error) {
	if !h.began {
		return nil, errors.New("the package's tests need: func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }")
	}
	if h.dir == "" {
		if err := h.settle(); err != nil {
			return nil, err
		}
	}
	start, err := h.lockStart()
	if err != nil {
		return nil, err
	}
	if err := h.use(ctx); err != nil {
		_ = start.Close() // which only unlocks it
		return nil, fmt.Errorf("%s: %w", h.dir, err)
	}
	return start, nil
}

// settle finds out where the folder is and what runs in it.
func (h *home) settle() error {
	bin, err := binFolder()
	if err != nil {
		return err
	}
	who, err := serverAccount()
	if err != nil {
		return err
	}
	// Another version, or a change of the settings, is another server.
	hash := fnv.New32a()
	fmt.Fprintf(hash, "%s\n%s\n%q", h.root, bin, (&Server{}).settings(Options{}))
	name := fmt.Sprintf("pgtest-%d-%08x", os.Getuid(), hash.Sum32())

	temp := os.TempDir()
	if !filepath.IsAbs(temp) || len(filepath.Join(temp, name, "p1234567-1234", socketName(65535))) >= 100 {
		temp = "/tmp" // a socket's path is limited to about a hundred bytes
	}
	h.dir, h.bin, h.who = filepath.Join(temp, name), bin, who
	return nil
}

// use locks users, and makes the template. If nobody else is here, what others left goes first. The lock on start is
// held, so nobody else has users for himself.
func (h *home) use(ctx context.Context) error {
	if h.users != nil {
		return nil
	}
	users, err := os.OpenFile(filepath.Join(h.dir, "users"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = func() error {
		alone, err := tryLock(users)
		if err != nil {
			return err
		}
		if alone {
			if err := h.removeServers(ctx, sharedName, templateName); err != nil {
				return err
			}
		}
		if err := lockShared(users); err != nil {
			return err
		}
		return h.makeTemplate(ctx)
	}()
	if err != nil {
		_ = users.Close()
		return err
	}
	h.users = users
	return nil
}

// lockStart waits for the lock on start, in a folder that is made if it has to be.
func (h *home) lockStart() (*os.File, error) {
	path := filepath.Join(h.dir, "start")
	for {
		if err := h.makeFolder(); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the last user has removed the folder in this moment
		}
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		// While we waited, the file may have been removed: then the lock is one that nobody else asks for.
		mine, err := f.Stat()
		if err == nil {
			var there fs.FileInfo
			if there, err = os.Stat(path); err == nil && os.SameFile(mine, there) {
				return f, nil
			}
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

func (h *home) makeFolder() error {
	mode := fs.FileMode(0o700)
	if h.who != nil {
		mode = 0o711 // the servers' user has to get through
	}
	err := os.Mkdir(h.dir, mode)
	if err == nil {
		return os.Chmod(h.dir, mode) // whatever the umask is
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	// In a folder for everybody, somebody else could have made it for us.
	if info, err := os.Lstat(h.dir); err == nil && (!info.IsDir() || !ownedByUs(info)) {
		return fmt.Errorf("%s is there and is not our folder: remove it", h.dir)
	}
	return nil
}

// makeTemplate makes an empty cluster, if there isn't one.
func (h *home) makeTemplate(ctx context.Context) error {
	template := filepath.Join(h.dir, templateName)
	if _, err := os.Stat(template); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := template + ".new"
	if err := h.makeOwned(unfinished); err != nil {
		return err
	}
	data := filepath.Join(unfinished, "data")
	initdb := func(locale string) error {
		return runAs(ctx, h.who, unfinished, program(h.bin, "initdb"),
			"-D", data, "-U", userName, "-A", "trust", "-E", "UTF8", "--locale="+locale, "--no-sync", "--no-instructions")
	}
	if err := initdb("C.UTF-8"); err != nil {
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		if errC := initdb("C"); errC != nil { // not every system has C.UTF-8
			return errors.Join(err, errC)
		}
	}
	return os.Rename(unfinished, template) // from here on it is whole
}

// makeOwned makes a folder for the servers' user alone.
func (h *home) makeOwned(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	return h.who.own(folder)
}

// leave is Main's, at the end. If nobody else uses the folder, it goes, and the shared server with it.
func (h *home) leave() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began = false
	if h.users == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	start, err := h.lockStart()
	if err != nil {
		return err
	}
	defer start.Close()
	defer func() {
		_ = h.users.Close() // which only unlocks it
		h.users, h.shared = nil, nil
	}()
	if alone, err := tryLock(h.users); err != nil || !alone {
		return err
	}
	if err := h.removeServers(ctx); err != nil {
		return err
	}
	// The lock's own file goes last. From then on somebody else may begin anew in this folder: it stays if it isn't empty.
	for _, name := range []string{"users", "start"} {
		if err := os.Remove(filepath.Join(h.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_ = os.Remove(h.dir)
	return nil
}

// removeServers ends and removes all that is in the folder, except what is to be kept and the locks.
func (h *home) removeServers(ctx context.Context, keep ...string) error {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return err
	}
	kept := " " + strings.Join(append(keep, "users", "start"), " ") + " "
	for _, e := range entries {
		if strings.Contains(kept, " "+e.Name()+" ") {
			continue
		}
		if err := removeServer(ctx, filepath.Join(h.dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
