package protocol_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

// TestConversations replays what real clients sent to a real server 15 and
// compares the shape of our answers with that server's. In the files C is bytes
// of the client in hex and S what came back: message types, command tags,
// severity and SQLSTATE, transaction status; CopyData is left out.
func TestConversations(t *testing.T) {
	h := newTestHandler(t)
	h.stream = func(_ context.Context, s *protocol.CopyStream) error { return drain(s) }
	h.after = complete
	addr := serve(t, h, protocol.Options{})
	files, err := filepath.Glob("testdata/conversations/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			f, err := os.Open(file)
			require.NoError(t, err)
			defer f.Close()
			c := dialRaw(t, addr)
			lines := bufio.NewScanner(f)
			for n := 1; lines.Scan(); n++ {
				line := lines.Text()
				switch {
				case strings.HasPrefix(line, "C "):
					b, err := hex.DecodeString(line[2:])
					require.NoError(t, err)
					c.write(b)
				case strings.HasPrefix(line, "S "):
					require.Equal(t, line[2:], c.answer(line[2:]), "line %d", n)
				}
			}
			require.NoError(t, lines.Err())
		})
	}
}

// answer reads as much as the expected shape has, and returns its shape.
func (c *rawClient) answer(expected string) string {
	c.t.Helper()
	if strings.HasPrefix(expected, "byte:") {
		b := make([]byte, 1)
		_, err := io.ReadFull(c.conn, b)
		require.NoError(c.t, err)
		return "byte:" + string(b)
	}
	var got []string
	count := strings.Count(strings.NewReplacer("START_", "", "(ERROR ", "(", "(FATAL ", "(", "(SELECT ", "(").Replace(expected), " ") + 1
	for len(got) < count {
		m, err := c.tryReceive()
		if errors.Is(err, io.EOF) {
			return strings.Join(append(got, "EOF"), " ")
		}
		require.NoError(c.t, err)
		if m.tag != 'd' {
			got = append(got, shape([]message{m}))
		}
	}
	return strings.Join(got, " ")
}
