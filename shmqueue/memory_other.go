//go:build !linux

package shmqueue

import (
	"errors"
	"fmt"
	"os"
)

var errSystem = fmt.Errorf("a queue between processes needs Linux: %w", errors.ErrUnsupported)

func createMemory(string, int64) (*os.File, error)    { return nil, errSystem }
func seal(*os.File, bool) error                       { return errSystem }
func isSealed(*os.File) (int64, error)                { return 0, errSystem }
func mapMemory(*os.File, int64, bool) ([]byte, error) { return nil, errSystem }
func unmap([]byte) error                              { return errSystem }
func anonymous(int) ([]byte, error)                   { return nil, errSystem }
func replace([]byte, *os.File) error                  { return errSystem }
func forReading(*os.File) (*os.File, error)           { return nil, errSystem }
func newEvent() (*os.File, error)                     { return nil, errSystem }
func duplicate(*os.File) (*os.File, error)            { return nil, errSystem }
func polled(*os.File) (*os.File, error)               { return nil, errSystem }
func machineClock() (int64, error)                    { return 0, errSystem }

type bell struct{}

func newBell(*os.File) (*bell, error) { return nil, errSystem }
func (*bell) ring()                   {}
func (*bell) close()                  {}
