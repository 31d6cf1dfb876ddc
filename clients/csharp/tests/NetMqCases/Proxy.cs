using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Threading.Tasks;

namespace Musecast.Tests
{
    /// <summary>A port that leads to another one, and can lose its connections.</summary>
    internal sealed class Proxy : IDisposable
    {
        private readonly string _host;
        private readonly int _port;
        private readonly List<TcpClient> _clients = new List<TcpClient>();
        private TcpListener? _listener;

        /// <summary>To an address such as <c>tcp://127.0.0.1:28881</c>.</summary>
        public Proxy(string address)
        {
            var place = new Uri(address);
            (_host, _port) = (place.Host, place.Port);
            Listen(0);
            Port = ((IPEndPoint)_listener!.LocalEndpoint).Port;
        }

        public int Port { get; }

        /// <summary>Every connection breaks, and for so long nobody answers.</summary>
        public async Task Lose(TimeSpan time)
        {
            Dispose();
            await Task.Delay(time);
            Listen(Port);
        }

        public void Dispose()
        {
            _listener?.Stop();
            lock (_clients)
            {
                _clients.ForEach(one => one.Dispose());
                _clients.Clear();
            }
        }

        private static async Task Copy(TcpClient from, TcpClient to)
        {
            try
            {
                await from.GetStream().CopyToAsync(to.GetStream());
            }
            catch (Exception error) when (error is System.IO.IOException || error is ObjectDisposedException || error is InvalidOperationException)
            {
                // Lost.
            }

            from.Dispose();
            to.Dispose();
        }

        private void Listen(int port)
        {
            _listener = new TcpListener(IPAddress.Loopback, port);
            _listener.Server.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            _listener.Start();
            _ = Accept(_listener);
        }

        private async Task Accept(TcpListener listener)
        {
            try
            {
                while (true)
                {
                    var near = await listener.AcceptTcpClientAsync();
                    var far = new TcpClient();
                    await far.ConnectAsync(_host, _port);
                    lock (_clients)
                    {
                        _clients.AddRange(new[] { near, far });
                    }

                    _ = Copy(near, far);
                    _ = Copy(far, near);
                }
            }
            catch (Exception error) when (error is SocketException || error is ObjectDisposedException || error is InvalidOperationException)
            {
                // Stopped.
            }
        }
    }
}
