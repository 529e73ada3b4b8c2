package access

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNothingUntrustedListensOnTheNetwork(t *testing.T) {
	var c Config
	require.NoError(t, c.Check("127.0.0.1:5454", "[::1]:7676", "localhost:1", ""))
	require.ErrorContains(t, c.Check("127.0.0.1:5454", "0.0.0.0:7676"), "refusing to listen on 0.0.0.0:7676")
	require.Error(t, c.Check(":5454"))
	require.Error(t, c.Check("example.org:5454"))
	for _, open := range []Config{{UsersFile: "u"}, {JWTKey: "k"}, {InsecureTrustNetwork: true}} {
		require.NoError(t, open.Check("0.0.0.0:5454"))
	}
}

func TestTLSFilesComeTogether(t *testing.T) {
	for _, c := range []Config{{TLSCert: "c"}, {TLSKey: "k"}, {TLSClientCA: "a"}} {
		require.Error(t, c.Check("127.0.0.1:1"))
	}
	_, config, err := (&Config{}).Policy(nil)
	require.NoError(t, err)
	require.Nil(t, config)
	_, _, err = (&Config{UsersFile: "/does/not/exist"}).Policy(nil)
	require.ErrorContains(t, err, "load users")
}
