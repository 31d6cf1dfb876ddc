using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Threading.Tasks;

namespace Musecast.Tests
{
    /// <summary>A public static method <c>Task Name()</c> of a class whose name ends in "Cases".</summary>
    /// <remarks>Classes that talk to a daemon say by a constant <c>Needs</c> which environment variable names it.</remarks>
    public sealed record Case(string Name, Func<Task> Work)
    {
        private static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);

        /// <summary>Those that can run here.</summary>
        public static IReadOnlyList<Case> Runnable() =>
            (from type in typeof(Case).Assembly.GetTypes()
             where type.Name.EndsWith("Cases", StringComparison.Ordinal) && type.IsAbstract && type.IsSealed
             where type.GetField("Needs")?.GetRawConstantValue() is not string needed || Setting(needed) != null
             orderby type.Name
             from method in type.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly)
             where method.ReturnType == typeof(Task)
             orderby method.MetadataToken
             select new Case(type.Name + "." + method.Name, () => (Task)method.Invoke(null, null)!)).ToList();

        /// <summary>An environment variable; null when it is not set.</summary>
        public static string? Setting(string name) =>
            Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;

        /// <summary>Run it; one that hangs fails.</summary>
        public async Task RunAsync()
        {
            var work = Task.Run(Work);
            if (await Task.WhenAny(work, Task.Delay(Limit)) != work)
            {
                throw new TimeoutException(Name + " hangs");
            }

            await work;
        }
    }

    /// <summary>What a case expects.</summary>
    public static class Check
    {
        public static void That(bool holds, string what)
        {
            if (!holds)
            {
                throw new InvalidOperationException("not so: " + what);
            }
        }

        public static void Equal<T>(T expected, T found, string what)
        {
            if (!EqualityComparer<T>.Default.Equals(expected, found))
            {
                throw new InvalidOperationException(what + ": expected " + expected + ", found " + found);
            }
        }

        public static void Same<T>(IEnumerable<T> expected, IEnumerable<T> found, string what) =>
            Equal(string.Join(" ", expected), string.Join(" ", found), what);

        /// <summary>The refusal, which must have this code.</summary>
        public static async Task<MusecastException> Refused(string code, Func<Task> work)
        {
            try
            {
                await work();
            }
            catch (MusecastException error)
            {
                Equal(code, error.Code, error.Message);
                return error;
            }

            throw new InvalidOperationException("nothing was refused, expected " + code);
        }

        public static async Task Throws<T>(Func<Task> work)
            where T : Exception
        {
            try
            {
                await work();
            }
            catch (T)
            {
                return;
            }

            throw new InvalidOperationException("no " + typeof(T).Name);
        }
    }
}
