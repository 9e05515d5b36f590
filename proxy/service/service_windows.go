package service

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/windows/registry"
)

// runKey names what is started when the user logs in.
const runKey = `Software\Microsoft\Windows\CurrentVersion\Run`

// Here returns what runs services for this user. Windows' services run for the whole
// computer and take an administrator to install: the Run key takes nobody's leave.
func Here(context.Context) (*Manager, error) {
	return &Manager{
		Words: "Windows", Login: true,
		install: func(_ context.Context, p Program) (did []string, err error) {
			key, _, err := registry.CreateKey(registry.CURRENT_USER, runKey, registry.SET_VALUE)
			if err != nil {
				return did, fmt.Errorf("open the Run key: %w", err)
			}
			defer func() { err = errors.Join(err, key.Close()) }()
			if err := key.SetStringValue(Name, syscall.EscapeArg(p.Path)+" "+argument); err != nil {
				return did, fmt.Errorf("set the Run key: %w", err)
			}
			did = append(did, "wrote mailproxy into the Run key, by which it starts when you log in")
			pid, err := start(p)
			if err != nil {
				return did, err
			}
			return append(did, fmt.Sprintf("started mailproxy (process %d); it writes to %s", pid, p.Log)), nil
		},
		remove: func(context.Context) (did []string, err error) {
			key, err := registry.OpenKey(registry.CURRENT_USER, runKey, registry.SET_VALUE)
			if errors.Is(err, registry.ErrNotExist) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("open the Run key: %w", err)
			}
			defer func() { err = errors.Join(err, key.Close()) }()
			switch err := key.DeleteValue(Name); {
			case errors.Is(err, registry.ErrNotExist):
				return nil, nil
			case err != nil:
				return nil, fmt.Errorf("delete from the Run key: %w", err)
			}
			return []string{"took mailproxy out of the Run key"}, nil
		},
	}, nil
}
